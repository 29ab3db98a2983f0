"""The experiment of BYOL and MoCo under one protocol."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.studies import augmentation_invariance as study
from kdjax.core import InputError
from kdjax.experiment.invariance import lengths
from kdjax.train import Result
from kdjax.train.stage import blank_batch

MEMBERS, SGD, LARS = 2, "byol_sgd_moderate", "byol_lars_moderate"


def small(variant, rates=()):
    found = study.get_config(variant)
    found.encoder_training.net.widths, found.seeds, found.head.hidden, found.head.out = (4,), MEMBERS, 5, 3
    for name in found.rates if rates else ():
        found.rates[name] = rates
    return found


@pytest.fixture(scope="module")
def byol():
    """The stages of one method, at a rate that is given."""
    return study.build(small("methods=byol", rates=(0.1,))).stages


@pytest.fixture(scope="module")
def states(byol):
    """`states(name)`: those of an encoder's members as they begin."""

    def of(name):
        stage = byol[name]
        keys = [jax.random.fold_in(jax.random.key(len(name)), member) for member in range(MEMBERS)]
        return [stage.method.init(key, blank_batch(stage), {}) for key in keys]

    return {name: of(name) for name in (SGD, LARS)}


@pytest.fixture(scope="module")
def results(byol, states):
    weights = {name: jax.tree.map(lambda *x: jnp.stack(x), *map(byol[name].method.weights, own)) for name, own in states.items()}
    return {
        name: Result({k: {"params": p, "stats": s} for k, (p, s) in found.items()}, {}, "", 0) for name, found in weights.items()
    }


def test_methods_optimisers_and_views_are_crossed():
    stages = study.build(small("methods=s_moco_v2_plus/moco,views=moderate/strong")).stages
    arms = [f"{m}_{o}_{v}" for m in ("moco", "s_moco_v2_plus") for o in ("sgd", "lars") for v in ("moderate", "strong")]
    tuned = ["untrained_tuned"]
    for arm in arms:
        tuned += [f"{arm}_tuned"] + [f"{arm}_rescaled"] * ("lars" in arm)
    assert list(stages) == ["untrained", *arms, *tuned]
    for arm in arms:
        optimiser = stages[arm].about["training"]["optimiser"]
        assert optimiser["name"] in arm and stages[arm].choose and stages[arm].members == 2 * MEMBERS
        assert set(stages[arm].hyper["learning_rate"]) == set(study.RATES[optimiser["name"]])
    assert optimiser["variant"] == "revisit_airl"
    rows = {k: jnp.asarray(x) for k, x in stages[arm].source.read(np.arange(1)).items()}
    seen = {arm: np.asarray(stages[arm].augment(jax.random.split(jax.random.key(0), 1), rows)["views"][0]) for arm in arms[:3]}
    moderate, strong, other = seen.values()
    np.testing.assert_array_equal(moderate, other)  # of LARS: all encoders see the same
    assert np.abs(moderate - strong).max() > 0.05


def test_both_sides_are_alike_in_the_symmetric_method_alone():
    stages = study.build(small("methods=moco_v2_plus/s_moco_v2_plus,optimisers=sgd", rates=(0.1,))).stages
    for name, follows in (("moco_v2_plus", False), ("s_moco_v2_plus", True)):
        stage = stages[f"{name}_sgd_moderate"]
        assert stage.hyper is None and not stage.choose and stage.members == MEMBERS
        state = jax.eval_shape(lambda stage=stage: stage.method.init(jax.random.key(0), blank_batch(stage), {}))
        assert ("predictor" in state.target.params) is follows
        assert ("bias" in state.online.params["predictor"]["linear2"]) is not follows
    assert not any(name.endswith("_rescaled") for name in stages)


def test_an_encoder_goes_on_as_it_is_or_with_the_lengths_of_another(byol, results):
    for kind, like in (("tuned", None), ("rescaled", SGD)):
        stage = byol[f"{LARS}_{kind}"]
        assert stage.warm_start_from == (LARS, like)[: 1 + bool(like)] and stage.source.size < 450
        begun = stage.method.init(jax.random.key(9), blank_batch(stage), {})
        state = stage.warm_start(begun, tuple(results[name] for name in stage.warm_start_from), 1)
        params, stats = state.learner.params["student"], state.learner.stats["student"]
        assert params["classifier"] is begun.learner.params["student"]["classifier"]
        own, other = (jax.tree.map(lambda x: np.asarray(x[1]), results[name].weights["encoder"]) for name in (LARS, like or LARS))
        for part in own["params"]:
            for name, w in own["params"][part].items():
                found = np.asarray(params[part][name])
                wanted = np.linalg.norm(other["params"][part][name]) if np.linalg.norm(w) else 0
                assert np.linalg.norm(found) == pytest.approx(wanted, rel=1e-5)
                np.testing.assert_allclose(found * np.linalg.norm(w), w * wanted, rtol=1e-4, atol=1e-5)
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), own["stats"], {k: stats[k] for k in own["stats"]}))


def test_the_length_of_kernels_is_that_of_the_encoder_alone(byol, states):
    state, stage = states[SGD][0], byol[SGD]
    outputs = stage.method.predict(state, jnp.zeros((3, 8, 8, 1)))
    kernels = [np.asarray(w, np.float64) for w in jax.tree.leaves(stage.method.weights(state)["encoder"][0]) if w.ndim > 1]
    wanted = np.sqrt(sum((w**2).sum() for w in kernels))

    def collect(split, *taps):
        assert taps == ("kernel_length",)
        return {name: {tap: np.asarray(x)[None] for tap, x in found.items()} for name, found in outputs.items()}, {}

    assert lengths(collect, "test", True)["kernel_length"] == pytest.approx([wanted])
    assert lengths(collect, "test", False) == {}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"reference": "adam"}, "--config.reference='adam' is not accepted: expected .*sgd.*, or '' for none"),
        ({"rates.sgd": ()}, r"--config.rates.sgd=\(\) is not accepted: expected one number or more, above 0"),
        ({"rates.lars": (0.0, 1.0)}, r"--config.rates.lars=\(0.0, 1.0\)"),
        ({"tuning.task": "long_tailed:0.001"}, "--config.tuning.task: ratio=0.001"),
        ({"probe.neighbours": 500}, "--config.probe: task 'long-tailed 0.05': neighbours=500"),
        ({"probe.per_class": 1}, "--config.probe.per_class=1 is not accepted: expected 2 or more"),
        ({"select": "best"}, "--config.select='best' is not accepted"),
    ],
)
def test_what_does_not_fit_is_refused(changed, line):
    config = small("methods=byol")
    config.update_from_flattened_dict(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        study.build(config)


@pytest.mark.parametrize("variant", ["optimisers=adam", "views=weak", "methods=simclr"])
def test_other_names_are_refused(variant):
    with pytest.raises(InputError, match=variant.partition("=")[2]):
        study.get_config(variant)
