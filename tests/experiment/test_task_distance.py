"""The experiment of telling beforehand which task to learn first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.studies import task_distance as study
from kdjax import data
from kdjax.core import InputError, Net
from kdjax.evaluate import pge_distance, principal_gradient
from kdjax.experiment.task_distance import distances, tables
from kdjax.experiment.tasks import read_tasks
from kdjax.train.stage import blank_batch


@pytest.fixture
def config():
    found = study.get_config()
    found.training.net.widths, found.seeds = (3,), 1
    found.sources, found.targets = ("original", "noisy", "5-9"), ("original", "inverted")
    found.transfer.update(per_class=2, draws=1)
    return found


def test_each_net_learns_its_own_task(config):
    found = study.build(config)
    assert list(found.stages) == ["original", "noisy", "classes_5_9"]
    half, noisy = found.stages["classes_5_9"], found.stages["noisy"]
    assert half.nets["network"]["classes"] == 5 and noisy.nets["network"]["classes"] == 10
    assert half.source.size == 671 and half.steps == 40 * 10 and noisy.steps == 40 * 21
    taps = jax.eval_shape(lambda: half.method.init(jax.random.key(0), blank_batch(half), {}).learner.params)
    assert taps["student"]["classifier"]["kernel"].shape == (3, 5)
    names = ("original", "noisy", "classes_5_9", "inverted")
    assert set(found.splits) == {f"{name}/{part}" for name in names for part in ("train", "test")}


def test_a_net_is_scored_on_its_own_task_and_on_all_targets(config):
    found = study.build(config)

    def collect(split, *taps, given=False):
        labels = np.arange(100) % 10
        pooled, logits = (np.eye(10, dtype=np.float32)[x][None] for x in (labels, labels if "noisy" in split else 0 * labels))
        return {"network": {"pooled": pooled, "logits": logits}}, {"label": labels}

    measured = found.stages["noisy"].evaluate(collect, "test", True)
    assert measured["accuracy"] == 100 and found.stages["noisy"].evaluate(collect, "test", False) == {}
    own = {f"{name}_{what}" for name in ("original", "inverted") for what in ("probe_accuracy", "leep", "h_score", "log_me")}
    assert own <= set(measured)


def linear(one):
    """A net without a draw: its gradients can be told by hand."""
    size = one.classes

    def init(key, x):
        return {"body": jnp.ones((64, 3)) / 64, "classifier": jnp.eye(3, size)}, {}

    def apply(params, stats, x, *, train, key=None):
        return {"logits": x.reshape(len(x), -1) @ params["body"] @ params["classifier"]}, stats

    return Net(init, apply)


def test_distances_are_of_the_gradients_of_both_tasks():
    whole = data.load("digits")
    tasks = read_tasks(("original", "inverted", "0-4"), whole, study.get_config().data, "--config.sources")
    seen = lambda images: jnp.asarray(images) / 255.0  # noqa: E731
    found = distances(tasks, linear, seen, 3, 2, batch=32, batches=2)
    names = [one.name for one in tasks]
    assert set(found) == {(a, b) for a in names for b in names if a != b}
    sampler = data.epochs(whole.train.size, 32)
    for number, seed in enumerate((3, 4)):
        gradients = []
        for change in (lambda x: x, lambda x: 1 - x):
            each = [whole.train.read(sampler.rows(seed, step)) for step in range(2)]
            batches = [{"image": change(seen(rows["image"])), "label": rows["label"]} for rows in each]
            gradients.append(principal_gradient(linear(tasks[0]), batches, jax.random.key(seed)))
        for form in (False, True):
            value = found["original", "inverted"]["pge_normalised" if form else "pge"][number]
            assert value == pytest.approx(pge_distance(*gradients, normalised=form), rel=1e-4)
            assert found["inverted", "original"]["pge_normalised" if form else "pge"][number] == value


SOURCES = {name: name for name in ("original", "noisy", "rotated", "scrambled")}
TARGETS = {"original": "original", "noisy": "noisy"}
RANDOM = np.random.default_rng(0)
MEASURED = {
    source: {f"test_{target}_{what}": RANDOM.normal(size=2).tolist() for target in TARGETS for what in ("probe_accuracy", "leep")}
    for source in SOURCES
}
DISTANCE = {(a, b): {"pge": RANDOM.uniform(size=2).tolist()} for a in SOURCES for b in SOURCES if a != b}


def test_scores_are_held_against_accuracy_over_the_other_sources():
    transfer, apart, scores = tables(MEASURED, SOURCES, TARGETS, DISTANCE)
    assert transfer.rows["rotated"]["noisy"] == MEASURED["rotated"]["test_noisy_probe_accuracy"]
    assert apart.rows["rotated"]["noisy"] == DISTANCE["rotated", "noisy"]["pge"] and apart.rows["noisy"]["noisy"] == ()
    assert set(apart.plot.points) == {"to original", "to noisy"} and set(apart.plot.points["to noisy"]) == {
        "original",
        "rotated",
        "scrambled",
    }
    assert list(scores.rows) == ["PGE distance", "LEEP"]
    by_hand = {"Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau}
    for row, value, sign in (
        ("PGE distance", lambda a, b: DISTANCE[a, b]["pge"], -1),
        ("LEEP", lambda a, b: MEASURED[a][f"test_{b}_leep"], 1),
    ):
        for kind, f in by_hand.items():
            for seed in range(2):
                each = {}
                for b in TARGETS:
                    others = [a for a in SOURCES if a != b]
                    x = [sign * value(a, b)[seed] for a in others]
                    each[b] = f(x, [MEASURED[a][f"test_{b}_probe_accuracy"][seed] for a in others]).statistic
                assert scores.rows[row][kind][seed] == pytest.approx(np.mean(list(each.values())))
                if kind == "Spearman":
                    assert scores.rows[row]["noisy"][seed] == pytest.approx(each["noisy"])


def test_what_is_missing_is_left_out_of_the_tables():
    assert tables({}, SOURCES, TARGETS, DISTANCE) == []
    two = {name: MEASURED[name] for name in ("original", "noisy")}
    assert [one.name for one in tables(two, SOURCES, TARGETS, DISTANCE)] == ["task_transfer", "task_distance"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"sources": ("noise",)}, "--config.sources: task='noise' is not accepted"),
        ({"targets": ()}, r"--config.targets=\(\) is not accepted: expected one task or more"),
        ({"select": "best"}, "--config.select='best' is not accepted"),
        (
            {"gradient.batch": 700},
            "--config.gradient.batch=700 is not accepted: expected 1 to 671, the images of the smallest task",
        ),
        ({"gradient.batches": 0}, "--config.gradient.batches=0"),
        ({"transfer.per_class": 1}, "--config.transfer.per_class=1"),
    ],
)
def test_what_does_not_fit_is_refused(config, changed, line):
    config.update_from_flattened_dict(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        study.build(config)
