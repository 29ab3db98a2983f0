"""The experiment of a mark and of what is left of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies import watermark as study
from kdjax import losses, models
from kdjax.core import InputError, jit_fast_compile
from kdjax.experiment import watermark
from kdjax.train import Result
from kdjax.train.stage import blank_batch

MEMBERS = 2
WAYS = ("before", "fine_tuned", "pruned_50", "distilled_1", "distilled_4", "hard_labels")


def small(**changed):
    config = study.get_config()
    config.seeds, config.references, config.data.batch, config.pruning, config.temperatures = MEMBERS, 1, 16, (0.5,), (1.0, 4.0)
    config.training.net.widths, config.student_training.net.widths, config.verification.random_keys = (4,), (3,), 5
    for name, value in changed.items():
        setattr(config, name, value)
    return config


@pytest.fixture(scope="module")
def stages():
    return watermark.build(small()).stages


@pytest.fixture(scope="module")
def started(stages):
    """`started(name)`: the States of a stage's members, from the earlier ones as they begin."""

    def states(name):
        stage = stages[name]
        names = (
            stage.warm_start_from if isinstance(stage.warm_start_from, tuple) else (stage.warm_start_from,) * bool(stage.warm_start)
        )
        results = []
        for before in names:
            each = [stages[before].method.weights(one) for one in states(before)]
            weights = jax.tree.map(lambda *xs: jnp.stack(xs), *each)
            results.append(Result({k: {"params": p, "stats": s} for k, (p, s) in weights.items()}, {}, "", 0))
        batch, found = blank_batch(stage), []
        for member in range(MEMBERS):
            one = jit_fast_compile(stage.method.init)(jax.random.fold_in(jax.random.key(len(name)), member), batch, {})
            brought = tuple(results) if isinstance(stage.warm_start_from, tuple) else next(iter(results), None)
            found.append(stage.warm_start(one, brought, member) if stage.warm_start else one)
        return found

    return states


def batch_of(stage):
    rows = {k: jnp.asarray(v) for k, v in stage.source.read(np.arange(stage.batch)).items()}
    return stage.augment(jax.random.split(jax.random.key(0), stage.batch), rows)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), a, b)))


def test_stages_and_their_nets(stages):
    assert list(stages) == ["models", "fine_tuned", "references", "distilled_1", "distilled_4", "hard_labels", "detector"]
    counts = {name: len(stage.nets["network"]["nets"]) for name, stage in stages.items() if name != "detector"}
    assert counts == {"models": 3, "fine_tuned": 2, "references": 1, "distilled_1": 2, "distilled_4": 2, "hard_labels": 2}


def test_the_first_net_learns_the_key_and_the_others_the_labels(stages, started):
    stage = stages["models"]
    state, batch = started("models")[1], batch_of(stages["models"])
    _, metrics = jit_fast_compile(stage.method.step)(state, batch, jax.random.key(1))
    assert set(metrics) == {"cross_entropy", "marked", "cross_entropy1", "cross_entropy2", "loss"}
    wanted = 0.3 * metrics["cross_entropy"] + 0.7 * metrics["marked"] + metrics["cross_entropy1"] + metrics["cross_entropy2"]
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)


def test_what_follows_starts_from_the_nets_of_its_seed(started):
    nets = started("models")
    for member, state in enumerate(started("fine_tuned")):
        assert equal(state.learner.params["student"], nets[member].learner.params["student"][:2])
        assert equal(state.learner.stats["student"], nets[member].learner.stats["student"][:2])
    for name in ("distilled_4", "references"):
        for member, state in enumerate(started(name)):
            assert equal(state.learner.stats["adapter"]["teacher"]["params"], nets[member].learner.params["student"])


def test_each_student_learns_from_a_net_of_its_own(stages, started):
    stage, state, batch = stages["distilled_4"], started("distilled_4")[0], batch_of(stages["distilled_4"])
    held = state.learner.stats["adapter"]["teacher"]
    new, metrics = jit_fast_compile(stage.method.step)(state, batch, jax.random.key(1))
    assert set(metrics) == {"lesson0", "lesson1", "loss"}
    first = jax.tree.map(lambda x: 2 * x, held["params"][0])
    changed = {**state.learner.stats["adapter"], "teacher": {**held, "params": (first, *held["params"][1:])}}
    apart = state._replace(learner=state.learner.replace(stats={**state.learner.stats, "adapter": changed}))
    other, _ = jit_fast_compile(stage.method.step)(apart, batch, jax.random.key(1))
    assert equal(new.learner.params["student"][1], other.learner.params["student"][1])
    assert not equal(new.learner.params["student"][0], other.learner.params["student"][0])
    assert equal(new.learner.stats["adapter"]["teacher"], held)


def test_the_detector_learns_from_the_marked_net_and_clean_ones_that_are_not_held_out(stages, started):
    stage, state, batch = stages["detector"], started("detector")[0], batch_of(stages["detector"])
    taps = jit_fast_compile(stage.method.predict)(state, batch["image"])["detector"]
    assert taps["logits"].shape == (16, len(WAYS), 2, 10) and taps["told"].shape == (16, len(WAYS), 2)
    assert taps["told_clean"].shape == (16, 2)  # a further clean net and its student
    np.testing.assert_allclose(taps["told_marked"], taps["told"][:, 0, 0], atol=1e-5)
    held = state.learner.stats["student"]
    own = {name: started(name)[0].learner.params["student"] for name in ("models", "fine_tuned", "references", "hard_labels")}
    assert all(equal(held[name]["params"], params) for name, params in own.items())
    nets = stages["models"].method.predict(started("models")[0], batch["image"])["network"]
    np.testing.assert_allclose(taps["logits"][:, 0, 1], nets["teacher1/logits"], atol=1e-5)
    np.testing.assert_array_equal(taps["logits"][:, 0], taps["logits"][:, 1])  # fine-tuning has not begun
    assert not np.allclose(taps["logits"][:, 0], taps["logits"][:, 2])  # pruned
    new, metrics = jit_fast_compile(stage.method.step)(state, batch, jax.random.key(1))
    told, clean = np.float64(taps["told_marked"]), np.float64(taps["told_clean"])
    np.testing.assert_allclose(metrics["loss"], np.logaddexp(0, -told).mean() + np.logaddexp(0, clean).mean(), rtol=1e-4)
    assert equal(new.learner.stats["student"], held) and not equal(new.learner.params, state.learner.params)
    assert list(stage.method.weights(new)) == ["detector"]


def test_small_weights_are_pruned_over_all_layers():
    params = {
        "a": {"kernel": jnp.arange(1.0, 7.0).reshape(2, 3)},
        "b": {"kernel": -jnp.arange(7.0, 11.0)[:, None], "bias": jnp.ones(2)},
    }
    found = watermark.prune(params, 0.3)
    assert found["a"]["kernel"].tolist() == [[0, 0, 0], [4, 5, 6]] and equal(found["b"], params["b"])
    assert equal(watermark.prune(params, 0.0), params)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("references", 0, r"--config.references=0 is not accepted: expected 1 or more clean models"),
        ("mark.epsilon", 0.5, r"--config.mark.epsilon=0.5 is not accepted: expected a number in \[0, 0.5\)"),
        ("mark.share", 1.5, r"--config.mark.share=1.5 is not accepted"),
        ("verification.random_keys", 0, r"--config.verification.random_keys=0 is not accepted: expected 1 or more random keys"),
        ("temperatures", (0.0,), r"--config.temperatures=\(0.0,\) is not accepted: expected one number above 0 or more"),
        ("pruning", (1.0,), r"--config.pruning=\(1.0,\) is not accepted: expected numbers in \[0, 1\)"),
        ("reference_temperature", 0.0, r"--config.reference_temperature=0.0 is not accepted"),
        ("mark.key", -1, r"--config.mark.key=-1 is not accepted: expected a seed, 0 or more"),
        ("verification.rates", (2.0,), r"--config.verification.rates=\(2.0,\) is not accepted: expected numbers from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(field, value, told):
    config = small()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=f"^{told}"):
        watermark.build(config)


def test_hard_labels_are_the_teacher_s_classes(stages, started):
    stage, state, batch = stages["hard_labels"], started("hard_labels")[0], batch_of(stages["hard_labels"])
    _, metrics = jit_fast_compile(stage.method.step)(state, batch, jax.random.key(1))
    teacher = stages["models"].method.predict(started("models")[0], batch["image"])["network"]["teacher1/logits"]
    net = models.build(stage.nets["network"])
    own, _ = net.apply(state.learner.params["student"], state.learner.stats["student"], batch["image"], train=True)
    wanted = jnp.mean(losses.cross_entropy(own["teacher1/logits"], jnp.argmax(teacher, -1)))
    np.testing.assert_allclose(metrics["lesson1"], wanted, rtol=1e-5)
