"""Networks that start from weights of elsewhere, whatever method trains them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import assert_same, linear, run, sgd, stage

from kdjax import augment, methods, models
from kdjax.core import Frozen, InputError
from kdjax.core.tree_paths import by_path
from kdjax.models import write_weights
from kdjax.train import run_stages
from kdjax.train.start import Start, begin, read_start

SPECIFICATION = {"name": "conv_net", "widths": [2], "classes": 3}
SHAPE = (4, 4, 1)
NET = models.build(SPECIFICATION)
BATCH = {"image": jnp.zeros((2, *SHAPE)), "label": jnp.zeros(2, jnp.int32), "index": jnp.arange(2)}
PARAMS, STATS = jax.tree.map(lambda x: np.asarray(x) + 3, NET.init(jax.random.key(7), BATCH["image"]))
WEIGHTS = by_path({"params": PARAMS, "stats": STATS})


def started(method, network, given=(), batch=BATCH, weights=WEIGHTS):
    state = method.init(jax.random.key(0), batch, dict(given))
    return state, begin(method, state, Start(network, (weights,), "", "kdjax"))


def same(found, wanted=(PARAMS, STATS)):
    jax.tree.map(np.testing.assert_array_equal, found, tuple(wanted))


def test_a_student_a_peer_and_a_point_of_a_sweep_start_from_weights():
    teacher = {"teacher": Frozen(*NET.init(jax.random.key(1), BATCH["image"]))}
    method = methods.kd(NET, NET, optax.sgd(0.1))
    before, after = started(method, "student", teacher)
    same(method.weights(after)["student"])
    assert_same(after.given, before.given)
    assert_same(after.learner.opt, before.learner.opt)
    method = methods.dml((NET, NET), optax.sgd(0.1))
    before, after = started(method, "peer1")
    same(method.weights(after)["peer1"])
    assert_same(method.weights(after)["peer0"], method.weights(before)["peer0"])


def test_a_follower_of_the_same_net_starts_with_it():
    head = models.mlp_head(4, 3)
    encoder = models.build(SPECIFICATION | {"classes": 0})
    method = methods.byol(encoder, head, models.mlp_head(4, 3), optax.sgd(0.1), steps=4)
    body = {k: x for k, x in WEIGHTS.items() if "classifier" not in k}
    _, after = started(method, "encoder", batch=BATCH | {"views": (BATCH["image"],) * 2}, weights=body)
    for holder in (after.online.params, after.target.params):
        assert all(np.array_equal(by_path({"params": holder["encoder"]})[k], x) for k, x in body.items() if k.startswith("params"))


def test_what_is_left_out_starts_as_the_method_has_it():
    body = {k: x for k, x in WEIGHTS.items() if "classifier" not in k}
    method = methods.supervised(NET, optax.sgd(0.1))
    before, after = started(method, "network", weights=body)
    assert_same(after.learner.params["student"]["classifier"], before.learner.params["student"]["classifier"])
    same(after.learner.params["student"]["stage1_conv"]["kernel"], PARAMS["stage1_conv"]["kernel"])


def test_what_a_method_does_not_keep_is_refused():
    method = methods.supervised(NET, optax.sgd(0.1))
    with pytest.raises(InputError, match="network 'student' is not of this method; accepted: network"):
        started(method, "student")
    with pytest.raises(InputError, match=r"params/other \(2,\) is not of network 'network'"):
        started(method, "network", weights={"params/other": np.zeros(2)})
    computed = method._replace(weights=lambda state: {"network": jax.tree.map(lambda x: 2 * x, method.weights(state)["network"])})
    with pytest.raises(InputError, match="is not kept as it is by this method"):
        started(computed, "network")


def test_a_stage_starts_there_and_is_another_stage(tmp_path):
    """Every member takes one of the source in turn; at rate 0 nothing moves."""
    net = linear()
    sources = [by_path({"params": net.init(jax.random.key(k), jnp.zeros((1, 4, 4, 1)))[0]}) for k in range(2)]
    own = stage(methods.supervised(net, sgd(0.0)), members=3, steps=2, start=(Start("network", tuple(sources), "", "run"),))
    (tmp_path / "cache").mkdir()
    found = run_stages({"one": own}, run(tmp_path / "a", cache=tmp_path / "cache"))["one"].weights["network"]["params"]
    for member in range(3):
        np.testing.assert_array_equal(found[0][member], sources[member % 2]["params/0"])
    for n, start in enumerate([(), (Start("network", tuple(sources[:1]), "", "run"),)]):
        run_stages({"one": own._replace(start=start)}, run(tmp_path / f"b{n}", cache=tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_file_with_another_head_and_normalisation(tmp_path):
    there = SPECIFICATION | {"mean": [0.5], "std": [0.25]}
    write_weights(tmp_path / "a", PARAMS, STATS, there)
    start = read_start(tmp_path / "a", "network", SPECIFICATION | {"classes": 5}, SHAPE)
    assert start.fresh == ("params/classifier/kernel", "params/classifier/bias") and start.format == "kdjax"
    assert start.told == "its images were normalised by mean [0.5] and std [0.25], here by nothing"
    assert set(start.members[0]) == {k for k in WEIGHTS if "classifier" not in k}
    whole = read_start(tmp_path / "a", "network", there, SHAPE)
    assert whole.fresh == () and whole.told == "" and set(whole.members[0]) == set(WEIGHTS)
    assert whole.source() != start.source() and whole.source() == read_start(tmp_path / "a", "network", there, SHAPE).source()
    with pytest.raises(InputError, match=r"a is refused: params/stage1_conv/kernel is \(3, 3, 1, 2\) in it, conv_net has"):
        read_start(tmp_path / "a", "network", SPECIFICATION | {"widths": [3]}, SHAPE)


def test_a_run_gives_all_its_members(tmp_path):
    trained = stage(
        methods.supervised(NET, sgd()), members=2, steps=2, nets={"network": SPECIFICATION}, augment=augment.per_image()
    )
    result = run_stages({"teacher": trained}, run(tmp_path))["teacher"]
    (tmp_path / "config.json").write_text(json.dumps({"stages": ["teacher"], "data": {"shape": list(SHAPE)}}))
    start = read_start(tmp_path, "network", SPECIFICATION, SHAPE)
    assert start.format == "run" and len(start.members) == 2
    for member, found in enumerate(start.members):
        wanted = by_path(jax.tree.map(lambda x, i=member: x[i], result.weights["network"]))
        assert set(found) == set(wanted) and all(np.array_equal(found[k], wanted[k]) for k in wanted)
