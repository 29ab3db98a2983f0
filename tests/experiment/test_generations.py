"""The experiment of nets that are taught by the one before them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import generations as config_file
from kdjax import methods, models
from kdjax.core import InputError
from kdjax.experiment import generations
from kdjax.methods.recipes import Outputs
from kdjax.train import Result

BATCH = {"image": jnp.ones((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}
KEY = jax.random.key(0)


def built(**changed):
    config = config_file.get_config()
    config.update({"seeds": 2, "student_training": {"epochs": 2, "net": {"widths": (3,)}}, **changed})
    return generations.build(config)


def left_by(stage):
    """What a stage with two members leaves."""
    made = [stage.method.weights(stage.method.init(jax.random.key(seed), BATCH, {}))["network"] for seed in (0, 1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *made)
    return Result({"network": dict(zip(("params", "stats"), stacked, strict=True))}, {}, "", 0)


def test_rounds_follow_each_other():
    found = built(rounds=2)
    assert list(found.stages) == ["round0", "round1", "round2", "permuted", "uniform", "of_two"]
    assert [found.stages[n].warm_start_from for n in ("round1", "round2", "of_two")] == ["round0", "round1", "round0"]
    assert len({stage.steps for stage in found.stages.values()}) == 1
    assert ("round2/test_accuracy", "round1/test_accuracy") in found.compare
    assert list(built(rounds=1, controls=False).stages) == ["round0", "round1"]


def test_each_line_is_taught_by_its_own_net_and_starts_elsewhere():
    stages = built(rounds=2).stages
    result = left_by(stages["round0"])
    own = [jax.tree.map(lambda x, k=k: x[k], result.weights["network"]["params"]) for k in (0, 1)]
    states = [stages["round1"].warm_start(stages["round1"].method.init(KEY, BATCH, {}), result, k) for k in (0, 1)]
    for state, expected in zip(states, own, strict=True):
        jax.tree.map(np.testing.assert_array_equal, state.learner.stats["adapter"]["teacher"]["params"], expected)
        jax.tree.map(np.testing.assert_array_equal, state.learner.params["student"], states[0].learner.params["student"])
    starts = [
        s.method.weights(s.method.init(KEY, BATCH, {}))["network"][0]["classifier"]["kernel"] for s in list(stages.values())[:3]
    ]
    assert not any(np.array_equal(a, b) for k, a in enumerate(starts) for b in starts[:k])
    two = stages["of_two"].warm_start(stages["of_two"].method.init(KEY, BATCH, {}), result, 1)
    jax.tree.map(np.testing.assert_array_equal, two.learner.stats["adapter"]["teacher"]["params"], (own[1], own[0]))
    new, metrics = jax.jit(stages["round1"].method.step)(states[1], BATCH, KEY)
    assert metrics["distillation"] > 0
    jax.tree.map(
        np.testing.assert_array_equal, new.learner.stats["adapter"]["teacher"], states[1].learner.stats["adapter"]["teacher"]
    )


def test_a_round_is_kd_from_the_round_before():
    """From the same start, with the net of the same seed as its teacher."""
    kept = {"label_weight": 0.3, "temperature": 3.0}
    stages = built(rounds=1, controls=False, **kept).stages
    result, one = left_by(stages["round0"]), stages["round1"]
    state = one.warm_start(one.method.init(KEY, BATCH, {}), result, 1)
    net = models.build(one.nets["network"])
    kd = methods.kd(net, net, optax.sgd(0.5, 0.9), label_weight=0.3, weight=0.7, temperature=3.0)
    beside = kd.init(KEY, BATCH, {"teacher": result.frozen(member=1)})
    learner = beside.learner.replace(params=beside.learner.params | {"student": state.learner.params["student"]})
    _, expected = jax.jit(kd.step)(beside._replace(learner=learner), BATCH, KEY)
    _, found = jax.jit(one.method.step)(state, BATCH, KEY)
    for name in ("cross_entropy", "distillation", "loss"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_controls_keep_the_confidence_and_nothing_else():
    z = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    labels = jnp.array([0, 4, 2, 2, 1, 3])
    seen = Outputs({}, {"logits": jnp.asarray(z)}, {}, {"label": labels, "index": jnp.arange(6)}, KEY, jnp.int32(0))
    p = jax.nn.softmax(z / 4)
    rows = np.arange(6)
    for said in (generations.permuted(seen), generations.uniform(seen, 4.0)):
        q = jax.nn.softmax(said / 4)
        np.testing.assert_allclose(q[rows, labels], p[rows, labels], rtol=1e-5)
    np.testing.assert_allclose(np.sort(generations.permuted(seen)), np.sort(z), rtol=1e-6)
    assert (np.asarray(generations.permuted(seen)) != z).any(1).sum() >= 4
    others = np.asarray(q)[np.asarray(jax.nn.one_hot(labels, 5)) == 0].reshape(6, 4)
    np.testing.assert_allclose(others, np.repeat((1 - p[rows, labels])[:, None] / 4, 4, 1), rtol=1e-5)


def test_two_nets_together_are_right_where_their_mean_is():
    logits = jnp.array([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])  # two members, two rows
    collect = lambda split, tap: ({"network": {"logits": logits}}, {"label": np.array([0, 0])})  # noqa: E731
    assert generations.accuracy_of_two(collect, "test", True)["ensemble_accuracy"].tolist() == [50.0, 50.0]
    assert generations.accuracy_of_two(collect, "test", False) == {}


def test_wrong_options_are_refused():
    for changed, text in (
        ({"rounds": 0}, r"^--config.rounds=0 is not accepted: expected 1 to 64"),
        ({"label_weight": 1.5}, r"^--config.label_weight=1.5 is not accepted"),
        ({"temperature": 0.0}, r"^--config.temperature=0.0 is not accepted"),
    ):
        with pytest.raises(InputError, match=text):
            built(**changed)
