"""Weights that are averaged over the last part of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_self_distillation import stage

from configs import swa as config_file
from kdjax import models
from kdjax.core import InputError
from kdjax.experiment import swa
from kdjax.train import Result, Swept


def built(**changed):
    config = config_file.get_config()
    config.update({"seeds": 2, "tuning": {"epochs": 4}, **changed})
    return swa.build(config)


def test_all_are_tuned_from_the_same_net_in_as_many_steps():
    found = built()
    tuned = ("decayed", "constant", "swa", "distilled")
    assert {found.stages[name].steps for name in tuned} == {found.stages["decayed"].steps}
    assert {found.stages[name].warm_start_from for name in tuned} == {"source"}
    assert found.dataset.classes == 5 and found.stages["decayed"].source.size == 100


def test_each_way_of_tuning_has_the_best_of_the_rates():
    found = built(rates=(0.01, 0.1)).stages
    assert {name for name, stage in found.items() if stage.choose} == {"decayed", "constant", "swa", "distilled"}
    assert found["swa"].hyper["learning_rate"].tolist() == [0.01, 0.01, 0.1, 0.1]


def test_a_start_brings_the_body_to_the_mean_too():
    made = built().stages["swa"]
    batch = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.zeros(2, int), "index": jnp.arange(2)}
    state, other = (made.method.init(jax.random.key(k), batch, {}) for k in (0, 1))
    learner = other.inner.learner
    stacked = jax.tree.map(lambda x: x[None], {"params": learner.params["student"], "stats": learner.stats["student"]})
    new = made.warm_start(state, Result({"network": stacked}, {}, "", 0), 0)
    kernel = lambda learner, name: learner.params["student"][name]["kernel"]  # noqa: E731
    for part in (new.inner.learner, new.averages[0]):
        np.testing.assert_array_equal(kernel(part, "stage1_conv"), kernel(learner, "stage1_conv"))
        np.testing.assert_array_equal(kernel(part, "classifier"), kernel(state.inner.learner, "classifier"))


def texts(tmp_path, **changed):
    random, arrays = np.random.default_rng(0), {}
    for part, size in (("train", 40), ("test", 8)):
        arrays |= {f"{part}_tokens": random.integers(0, 256, (size, 6)), f"{part}_labels": np.arange(size) % 2}
    np.savez(tmp_path / "texts.npz", **arrays)
    config = config_file.get_config("task=text")
    config.data.source, config.data.batch, config.per_class = f"npz:{tmp_path / 'texts.npz'}", 4, 4
    for net in (config.net, config.wider_net):
        net.update({"width": 4, "depth": 1, "heads": 1})
    config.update(changed)
    return swa.build(config)


def test_texts_are_learnt_without_labels_first(tmp_path):
    found = texts(tmp_path)
    first, tuned = found.stages["source"], found.stages["swa"]
    assert (first.source.size, tuned.source.size) == (36, 8)
    both = [models.build(stage.nets["network"]) for stage in (first, tuned)]
    batch = {name: jnp.asarray(x) for name, x in first.source.read(np.arange(4)).items()}
    bodies = []
    for net, logits in zip(both, ((4, 6, 256), (4, 2)), strict=True):
        params, stats = net.init(jax.random.key(0), batch["tokens"])
        assert net.apply(params, stats, batch["tokens"], train=False)[0]["logits"].shape == logits
        bodies.append(jax.tree.map(jnp.shape, {name: x for name, x in params.items() if name != "classifier"}))
    assert bodies[0] == bodies[1]
    masked = first.augment(jax.random.split(jax.random.key(0), 4), batch)
    assert masked["label"].shape == (4, 6) and (masked["label"] == -1).any()
    assert tuned.augment(jax.random.split(jax.random.key(0), 4), batch) is batch


def test_what_is_no_such_set_is_refused(tmp_path):
    for file, wanted in (("swa", "images"), ("swa:task=text", "texts")):
        config = config_file.get_config(file.partition(":")[2])
        config.data.source = "digits" if wanted == "texts" else "docstrings"
        with pytest.raises(
            InputError, match=f"^--config.data.source={config.data.source} is not accepted: expected {wanted} of one"
        ):
            swa.build(config)
    with pytest.raises(InputError, match=r"^--config.mask=2.0 is not accepted: expected a share above 0, at most 1"):
        texts(tmp_path, mask=2.0)


def test_the_rate_falls_and_stays(monkeypatch):
    seen = []
    monkeypatch.setattr(swa, "make_optimiser", lambda section, steps, each: seen.append((section, steps)) or None)
    c = type("C", (), {"training": {"optimiser": {"learning_rate": 2.0}}, "steps": 40, "steps_per_epoch": 4})
    for after in (0.5, 0.0):
        swa.then_constant(c, after, 0.25)  # pyright: ignore
    assert (seen[0][0]["schedule"], seen[0][0]["last_share"], seen[0][1]) == ("cosine", 0.25, 20)
    assert (seen[1][0]["schedule"], seen[1][0]["learning_rate"]) == ("constant", 0.5)


def test_batch_norm_is_measured_at_the_mean():
    made = stage("swa")
    batch = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.zeros(2, int), "index": jnp.arange(2)}
    state = made.method.init(jax.random.key(0), batch, {})
    state = state._replace(averages=jax.tree.map(lambda x: x + 1.0, state.averages))
    new = made.refresh(None, state, 0, jax.random.key(0))
    found, own = (s.averages[0].stats["student"]["batch_stats"]["stage1_bn"] for s in (new, state))
    assert not np.allclose(found["var"], own["var"])  # black images do not vary
    np.testing.assert_allclose(found["var"], 0, atol=1e-6)
    assert made.refresh_every % made.pace.block == 0
    swept = stage("swa", sweep="learning_rate=0.1,0.2")
    assert swept.choose and swept.hyper["learning_rate"].tolist() == [0.1, 0.2]
    inner = swept.refresh(None, Swept({}, state), 0, jax.random.key(0)).inner
    np.testing.assert_array_equal(inner.averages[0].stats["student"]["batch_stats"]["stage1_bn"]["var"], found["var"])


def test_wrong_starts_and_rates_are_refused():
    for changed, text in (
        ({"after": 1.0}, r"^after=1.0 is not accepted: expected a part of the steps, from 0 to below 1"),
        ({"after": 0.999}, r"^after=0.999 is not accepted: expected a start below the 45 steps"),
        ({"rate_share": 0.0}, r"^rate_share=0.0 is not accepted: expected a share above 0"),
    ):
        with pytest.raises(InputError, match=text):
            stage("swa", **changed)
    for changed, text in (
        ({"source_classes": 9}, r"^--config.source_classes=9 is not accepted: expected 2 to 8"),
        ({"per_class": 10**4}, r"^--config.per_class=10000 is not accepted: class 0 has"),
        ({"rates": (0.1, -0.1)}, r"^--config.rates=\(0.1, -0.1\) is not accepted: expected numbers above 0"),
    ):
        with pytest.raises(InputError, match=text):
            built(**changed)
