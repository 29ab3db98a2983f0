import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TEST, TRAIN, assert_close, assert_same, linear, metrics, resumed, run, sgd, stage, weights

from kdjax import augment, methods, models
from kdjax.core import Frozen, InputError, Net
from kdjax.data import column_source, epoch_rows
from kdjax.train import Diverged, Pace, feed, run_stages, sweep


def remembering(source=TRAIN, shown=lambda batch, key: {"index": batch["index"]}):
    """A method that trains a linear net and shows what it is given."""
    method = methods.supervised(linear(), sgd())

    def step(state, batch, key):
        new, logged = method.step(state, batch, key)
        return new, logged | shown(batch, key)

    return method._replace(step=step)


# --- one run


@pytest.mark.parametrize("resident", [True, False])
def test_columns_of_any_kind_reach_the_method_and_the_measure(tmp_path, resident):
    """Tokens with a label each, weights of positions and padding; a set without images."""
    tokens, draw = np.arange(200).reshape(40, 5) % 6, np.random.default_rng(0)
    columns = {"tokens": tokens, "label": (tokens + 1) % 6, "where": draw.random((40, 5)) < 0.8, "mark": np.arange(40)}
    source = column_source(columns | {"label": np.where(draw.random((40, 5)) < 0.7, columns["label"], -1)})

    def init(key, x):
        return {"table": jnp.zeros((6, 6))}, {}

    def apply(params, stats, x, *, train, key=None):
        return {"logits": params["table"][x]}, stats

    plain = methods.supervised(Net(init, apply), sgd(3.0))

    def step(state, batch, key):
        new, logged = plain.step(state, batch, key)
        return new, logged | {"same": jnp.all(batch["mark"] == batch["index"]).astype(jnp.float32)}

    def measure(collect, split, final):
        outputs, found = collect(split, "logits")
        right = np.argmax(next(iter(outputs.values()))["logits"], -1) == found["label"]
        return {"accuracy": 100 * right[:, found["where"]].mean(-1)}

    only = stage(plain._replace(step=step), source=source, augment=augment.per_image(), evaluate=measure)
    splits = {"test": column_source(columns)}
    result = run_stages({"only": only}, run(tmp_path, resident=resident, splits=splits))["only"]
    assert result.measures["test_accuracy"] == [100]
    assert [json.loads(x)["same"] for x in metrics(tmp_path).splitlines()] == [[1.0]] * 6


def test_a_run_leaves_its_records_and_networks(tmp_path):
    seen = []
    one = run(tmp_path, progress=lambda name, step, line: seen.append((name, step)))
    result = run_stages({"only": stage(steps=7, nets={"network": {"name": "linear"}})}, one)["only"]
    lines = [json.loads(x) for x in metrics(tmp_path).splitlines()]
    # Blocks of 2, the last one of what is left; evaluated every 4 steps and at the end.
    assert [(x["step"], x["epoch"], "val_accuracy" in x) for x in lines] == [(2, 1, 0), (4, 2, 1), (6, 3, 0), (7, 4, 1)]
    assert seen == [("only", 2), ("only", 4), ("only", 6), ("only", 7)] and all(len(x["loss"]) == 1 for x in lines)
    assert {k: len(v) for k, v in result.measures.items()} == {"test_accuracy": 1, "val_accuracy": 1} and result.step == 7
    assert result.measures["val_accuracy"] == lines[-1]["val_accuracy"]
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.jsonl", "times.jsonl", "models", "checkpoints"}
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["only"]


def test_rows_are_those_of_the_data_in_their_order(tmp_path):
    one = stage(remembering(), pace=Pace(1, 4, 4), steps=5)
    run_stages({"only": one}, run(tmp_path, data_seed=6))
    for step, line in enumerate(map(json.loads, metrics(tmp_path).splitlines())):
        assert line["index"] == [epoch_rows(6, step, size=40, batch=16).tolist()]


def test_without_validation_images_the_test_split_is_watched_but_never_chosen_by(tmp_path):
    run_stages({"only": stage(steps=4)}, run(tmp_path, splits={"test": TEST}))
    assert "test_accuracy" in metrics(tmp_path) and "val_" not in metrics(tmp_path)
    with pytest.raises(InputError, match="select='best' is not accepted: it needs validation images"):
        run_stages({"only": stage(steps=4)}, run(tmp_path / "b", splits={"test": TEST}, select="best"))


def test_micro_batches_accumulate_to_the_same_step(tmp_path):
    whole, parts = (
        run_stages({"only": stage(methods.supervised(linear(), sgd(), micro=n))}, run(tmp_path / str(n))) for n in (1, 4)
    )
    assert_close(weights(parts), weights(whole), 1e-6)


@pytest.mark.parametrize("share", ["batch", "none"])
@pytest.mark.parametrize("net", [linear(), models.conv_net((4,), 3)])
def test_batches_read_ahead_train_to_the_same_bits(tmp_path, share, net):
    """Under one kind of block: two steps in one compiled call."""
    stages = {"only": stage(methods.supervised(net, sgd()), steps=11, members=2)}
    whole, ahead = (run_stages(stages, run(tmp_path / str(r), share=share, resident=r)) for r in (True, False))
    assert_same(weights(ahead), weights(whole))
    assert metrics(tmp_path / "True") == metrics(tmp_path / "False") and ahead["only"].measures == whole["only"].measures


def test_the_line_of_a_block_is_the_mean_over_its_chunks(tmp_path, monkeypatch):
    one = {"only": stage(pace=Pace(6, 6, 6), steps=10)}
    run_stages(one, run(tmp_path / "whole"))
    monkeypatch.setattr(feed, "CHUNK_BYTES", 3 * 16 * 24)  # chunks of 3 steps, the last of 1
    run_stages(one, run(tmp_path / "steps", resident=False))
    whole, steps = ([json.loads(x) for x in metrics(tmp_path / name).splitlines()] for name in ("whole", "steps"))
    assert [(x["step"], x["epoch"]) for x in whole] == [(x["step"], x["epoch"]) for x in steps] == [(6, 3), (10, 5)]
    for a, b in zip(whole, steps, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


# --- members


@pytest.mark.parametrize("share", ["batch", "none"])
def test_a_member_is_the_single_run_with_its_seed(tmp_path, share):
    method = remembering(shown=lambda batch, key: {"index": batch["index"], "noise": jax.random.normal(key, ())})
    alone = [run_stages({"only": stage(method, steps=6)}, run(tmp_path / str(i), share=share, seed=3 + i)) for i in range(2)]
    for how in ("map", "vmap"):
        together = run_stages({"only": stage(method, members=2, steps=6)}, run(tmp_path / how, share=share, how=how))
        lines = [json.loads(x) for x in metrics(tmp_path / how).splitlines()]
        for i in range(2):
            assert_close(jax.tree.map(lambda x, i=i: x[i : i + 1], weights(together)), weights(alone[i]), 1e-6)
            for line, one in zip(lines, map(json.loads, metrics(tmp_path / str(i)).splitlines()), strict=True):
                for name in ("index", "noise", "loss"):
                    np.testing.assert_allclose(line[name][i], one[name][0], atol=1e-5)
        first = lines[0]
        assert (first["index"][0] == first["index"][1]) == (first["noise"][0] == first["noise"][1]) == (share == "batch")


def test_one_member_may_diverge_and_all_may_not(tmp_path):

    method, _ = sweep(lambda rate: methods.supervised(linear(), sgd(rate)), {"rate": [0.1]})
    said = []
    results = run_stages({"only": stage(method, members=2, hyper={"rate": [0.1, 1e38]})}, run(tmp_path / "one", said))
    last = json.loads(metrics(tmp_path / "one").splitlines()[-1])
    assert last["loss"][1] is None and last["loss"][0] < 1.2 and any("some members is not finite" in x for x in said)
    assert np.isfinite(weights(results)["params"][0][0]).all()
    with pytest.raises(Diverged, match=r"only diverged: loss is (nan|inf) at step 2, expected a finite number; lower the"):
        run_stages({"only": stage(method, members=2, hyper={"rate": [1e38, 1e38]})}, run(tmp_path / "all"))


def test_a_run_goes_on_without_an_optional_stage_that_diverges_and_what_is_built_on_it(tmp_path):
    stages = pair()
    wild = methods.supervised(linear(), sgd(1e38))
    stages = {
        "teacher": stage(wild, members=2, optional=True),
        "student": stages["student"],
        "alone": stage(methods.supervised(linear(), sgd(0.2))),
    }
    said = []
    assert list(run_stages(stages, run(tmp_path / "a", said))) == ["alone"]
    assert any(x.startswith("teacher diverged") and x.endswith("the run goes on without it") for x in said)
    assert "student is left out: it is built on teacher" in said
    adopting = stage(warm_start=lambda state, result, member: state, warm_start_from="teacher")
    assert list(run_stages(stages | {"student": adopting}, run(tmp_path / "b"))) == ["alone"]
    with pytest.raises(Diverged, match="teacher diverged"):
        run_stages(stages | {"teacher": stage(wild, members=2)}, run(tmp_path / "c"))


def test_a_member_with_one_finite_loss_of_two_has_diverged(tmp_path):
    method = remembering(shown=lambda batch, key: {"loss": jnp.float32(jnp.nan), "other_loss": jnp.float32(1.0)})
    with pytest.raises(Diverged):
        run_stages({"only": stage(method)}, run(tmp_path))


# --- what comes from outside, what goes on


def pair():
    """A teacher with two members, and a student of its second one."""
    return {
        "teacher": stage(members=2),
        "student": stage(
            methods.kd(linear(), linear(), sgd()), members=2, given=lambda results: {"teacher": results["teacher"].frozen(member=1)}
        ),
    }


def test_a_student_learns_from_the_stage_before(tmp_path):
    results = run_stages(pair(), run(tmp_path / "a"))
    assert list(results["student"].weights) == ["student"]
    teacher = results["teacher"].frozen(member=1)
    direct = {"student": pair()["student"]._replace(given=lambda _: {"teacher": teacher})}
    assert_same(run_stages(direct, run(tmp_path / "b"))["student"].weights, results["student"].weights)
    other = {"student": pair()["student"]._replace(given=lambda _: {"teacher": results["teacher"].frozen(member=0)})}
    assert run_stages(other, run(tmp_path / "c"))["student"].digest != results["student"].digest


def test_missing_weights_are_refused(tmp_path):
    student = pair()["student"]._replace(given=lambda results: {})
    with pytest.raises(InputError, match="stage 'student' needs teacher; it was given nothing"):
        run_stages({"student": student}, run(tmp_path))
    student = pair()["student"]._replace(given=lambda results: {"techer": Frozen({}, {}, "x")})
    with pytest.raises(InputError, match="needs teacher; it was given techer"):
        run_stages({"student": student}, run(tmp_path))


def test_a_data_free_stage_sees_row_numbers_only_and_members_equal_single_runs(tmp_path):
    def image(params, stats, z, *, train, key=None):
        return {"image": jax.nn.sigmoid(z @ params["w"]).reshape(-1, 4, 4, 1)}, stats

    maker = Net(lambda key, z: ({"w": jax.random.normal(key, (z.shape[1], 16))}, {}), image)
    frozen = Frozen(*linear().init(jax.random.key(0), jnp.zeros((1, 4, 4, 1))), "digest")
    method = methods.dafl(linear(), linear(), maker, sgd(0.01), sgd(0.01), latent=3, student_steps=1)
    one = stage(method, source=None, batch=6, steps=3, given=lambda _: {"teacher": frozen}, samples=samples, augment=boom)
    together = run_stages({"only": one._replace(members=2)}, run(tmp_path / "all", share="none"))["only"]
    alone = run_stages({"only": one}, run(tmp_path / "one", share="none", seed=4))["only"]
    assert_close(jax.tree.map(lambda x: x[1:], together.weights), alone.weights, 1e-6)
    assert together.samples.shape == (2, 4, 4, 1) and together.samples.dtype == np.float32
    again = run_stages({"only": one._replace(members=2)}, run(tmp_path / "all", share="none"))["only"]
    assert_same(again.samples, together.samples)
    assert list(again.weights) == ["student", "generator"]


def samples(state, key):
    return np.full((2, 4, 4, 1), 0.1)  # float64, as host code is apt to make it


def boom(keys, batch):
    raise AssertionError("there is nothing to augment")


def test_the_first_network_stays_the_first_and_every_structure_comes_back(tmp_path):
    """Not the first by alphabet; parameters in a list, tuples and empty parts in the statistics."""
    net = linear()
    counted = Net(
        lambda key, x: (net.init(key, x)[0], {"seen": (jnp.float32(0), {}), "none": {}}),
        lambda p, s, x, *, train, key=None: (net.apply(p, {}, x, train=train)[0], s),
    )
    method = methods.supervised(counted, sgd())
    flipped = method._replace(
        predict=lambda s, x: {"zeta": method.predict(s, x)["network"], "alpha": {"logits": jnp.zeros((x.shape[0], 3))}},
        weights=lambda s: {"zeta": method.weights(s)["network"], "alpha": ({"w": jnp.zeros(2)}, {})},
    )
    first = run_stages({"only": stage(flipped)}, run(tmp_path / "a"))["only"]
    plain = run_stages({"only": stage(method)}, run(tmp_path / "b"))["only"]
    assert first.measures == plain.measures  # those of zeta
    assert list(first.weights) == ["zeta", "alpha"] and first.frozen().source == f"{first.digest}/zeta/0"
    again = run_stages({"only": stage(flipped)}, run(tmp_path / "a"))["only"]
    assert list(again.weights) == ["zeta", "alpha"]
    assert_same(again.weights, first.weights)


def test_an_nnx_net_is_trained_resumed_and_read_back(tmp_path):
    from flax import nnx

    from kdjax.core import from_nnx

    class Small(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(16, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)])

        def __call__(self, x):
            x = x.reshape(x.shape[0], -1)
            for layer in self.layers:
                x = layer(x)
            return x

    net = from_nnx(lambda rngs: Small(rngs))
    stages = {"only": stage(methods.supervised(net, sgd()), members=2)}
    whole = run_stages(stages, run(tmp_path / "whole"))
    pieces = resumed(tmp_path / "pieces", stages, (2,))
    assert_same(weights(pieces), weights(whole))
    again = run_stages(stages, run(tmp_path / "whole"))["only"].frozen(member=1)
    taps, _ = net.apply(again.params, again.stats, augment.per_image()(None, TRAIN.read(np.arange(4)))["image"], train=False)
    assert taps["logits"].shape == (4, 3)
