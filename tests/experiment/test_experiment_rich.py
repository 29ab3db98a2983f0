"""The experiment of nets whose features are put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies import rich_representations
from kdjax.core import InputError
from kdjax.train import Result
from kdjax.train.stage import blank_batch

MEMBERS = 2


@pytest.fixture(scope="module")
def experiment():
    config = rich_representations.get_config()
    config.nets, config.seeds, config.data.batch, config.training.net.widths, config.wide.widths = 2, MEMBERS, 16, (3, 4), (5, 6)
    for section in (config.training, config.distilling):
        section.optimiser.warmup_epochs = 0.0  # or the first step would be none
    return rich_representations.build(config)


@pytest.fixture(scope="module")
def started(experiment):
    """`started(name)`: the States of a stage's members, from the earlier ones as they begin."""

    def states(name):
        stage, result = experiment.stages[name], None
        if stage.warm_start:
            each = [experiment.stages[stage.warm_start_from].method.weights(one) for one in states(stage.warm_start_from)]
            weights = jax.tree.map(lambda *xs: jnp.stack(xs), *each)
            result = Result({k: {"params": p, "stats": s} for k, (p, s) in weights.items()}, {}, "", 0)
        batch, found = blank_batch(stage), []
        for member in range(MEMBERS):
            one = stage.method.init(jax.random.fold_in(jax.random.key(len(name)), member), batch, {})
            found.append(stage.warm_start(one, result, member) if stage.warm_start else one)
        return found

    return states


def batch_of(stage):
    rows = {k: jnp.asarray(v) for k, v in stage.source.read(np.arange(stage.batch)).items()}
    return stage.augment(jax.random.split(jax.random.key(0), stage.batch), rows)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), a, b)))


def test_the_classes_are_two_tasks(experiment):
    assert set(experiment.dataset.train.labels()) == set(experiment.splits["target_test"].labels()) == set(range(5))
    kept = {name: source.size for name, source in experiment.splits.items()}
    assert set(kept) == {"target_train", "target_test"}
    assert (
        experiment.dataset.train.size + kept["target_train"] == 1347 and experiment.dataset.test.size + kept["target_test"] == 450
    )
    assert experiment.stages["tuned"].source.size == 50 and experiment.stages["nets"].source is experiment.dataset.train


def test_nets_side_by_side_learn_each_for_itself(experiment, started):
    """The step of one of them is that of this net alone."""
    stage = experiment.stages["nets"]
    state = started("nets")[0]
    batch = batch_of(stage)
    new, _ = stage.method.step(state, batch, jax.random.key(1))
    first, second = state.learner.params["student"]
    changed = {**state.learner.params, "student": (first, jax.tree.map(lambda x: 2 * x, second))}
    apart, _ = stage.method.step(state._replace(learner=state.learner.replace(params=changed)), batch, jax.random.key(1))
    assert equal(new.learner.params["student"][0], apart.learner.params["student"][0])
    assert not equal(new.learner.params["student"][0], first) and not equal(first, second)


def test_each_group_is_distilled_into_a_net_of_its_own(experiment, started):
    nets, stage = started("nets"), experiment.stages["distilled"]
    for member, state in enumerate(started("distilled")):
        held = state.learner.stats["adapter"]["teacher"]
        assert equal(held["params"], nets[member].learner.params["student"])
        new, metrics = stage.method.step(state, batch_of(stage), jax.random.key(1))
        assert equal(new.learner.stats["adapter"]["teacher"], held) and set(metrics) == {"distillation", "loss"}
        assert not equal(new.learner.params["student"], state.learner.params["student"])
    assert not equal(*(nets[member].learner.params["student"] for member in range(MEMBERS)))


def test_fine_tuning_starts_from_the_nets_with_new_heads(experiment, started):
    nets, wide = started("nets")[1], started("wide")[1]
    tuned, cat, broad = (started(name)[1].learner.params["student"] for name in ("tuned", "cat_tuned", "wide_tuned"))
    for k, before in enumerate(nets.learner.params["student"]):
        for part in before:
            fresh = part == "classifier"
            assert equal(tuned[k][part], before[part]) != fresh
            assert fresh or equal(cat["nets"][k][part], before[part])
    assert equal(broad["stage1_conv"], wide.learner.params["student"]["stage1_conv"])
    assert not equal(broad["classifier"], wide.learner.params["student"]["classifier"])


def test_the_second_stage_begins_with_the_mean_answer_and_moves_its_head_alone(experiment, started):
    first, second = experiment.stages["tuned"].method, experiment.stages["two_stage"]
    state, batch = started("two_stage")[1], batch_of(second)
    both = first.predict(started("tuned")[1], batch["image"]), second.method.predict(state, batch["image"])
    np.testing.assert_allclose(*(found["network"]["logits"] for found in both), rtol=1e-4, atol=1e-5)
    new, _ = second.method.step(state, batch, jax.random.key(1))
    before, after = state.learner, new.learner
    assert equal(after.params["student"]["nets"], before.params["student"]["nets"])
    assert equal(after.stats["student"]["nets"], before.stats["student"]["nets"])
    assert not equal(after.params["student"]["classifier"], before.params["student"]["classifier"])


def test_all_start_from_their_own_member(started):
    for name in ("cat_tuned", "two_stage"):
        one, other = (state.learner.params["student"]["nets"][0]["stage1_conv"] for state in started(name))
        assert not equal(one, other)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"source_classes": 9}, "--config.source_classes=9 is not accepted: expected 2 to 8, which leaves 2 classes"),
        ({"nets": 1}, "--config.nets=1 is not accepted: expected 2 to 64"),
        ({"transfer.per_class": (5, 200)}, "--config.transfer.per_class: per_class=200 is not accepted: class"),
        ({"transfer.per_class": (1,)}, r"--config.transfer.per_class=\(1,\) is not accepted: expected 2 or more"),
        ({"tuning.per_class": 1}, r"--config.tuning.per_class=\(1,\)"),
    ],
)
def test_what_does_not_fit_is_refused(changed, line):
    config = rich_representations.get_config()
    config.update_from_flattened_dict(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        rich_representations.build(config)
