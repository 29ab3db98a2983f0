from inspect import Parameter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.reviewkd import reviewkd_objective


def taps(maps):
    *stages, pooled = maps
    found = {f"stage{k + 1}{what}": x for k, x in enumerate(stages) for what in ("", "_preact")}
    return found | {"pooled": pooled.reshape(len(pooled), -1)}


def test_golden_through_the_fusion(golden):
    g = golden("mdistiller/reviewkd_full")
    names = {"conv1": "conv1", "conv2": "conv2", "bn1": "bn1", "bn2": "bn2", "att": "attention"}
    params, stats = {}, {}
    for k in range(3):
        own = {
            ours: {p: g[f"w_abf{k}_{theirs}_{p}"] for p in ("kernel", "scale", "bias") if f"w_abf{k}_{theirs}_{p}" in g}
            for theirs, ours in names.items()
        }
        params[f"level{k}"] = (
            own if k < 2 else {name: layer for name, layer in own.items() if name != "attention"}
        )  # nothing is deeper
        stats[f"level{k}"] = {bn: {"mean": 0 * own[bn]["bias"], "var": 1 + 0 * own[bn]["bias"]} for bn in ("bn1", "bn2")}
    objective = reviewkd_objective(width=int(g["hp_mid_channels"]), steps_per_epoch=1, warmup_epochs=0)

    @jax.jit
    @jax.value_and_grad
    def term(student):
        return unweighted(objective, look(taps(student), taps([g[f"f_t{k}"] for k in range(3)])), params, {"batch_stats": stats})

    value, slopes = term([g[f"f_s{k}"] for k in range(3)])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for k, slope in enumerate(slopes):
        np.testing.assert_allclose(slope, g[f"grad_f_s{k}"], rtol=0, atol=1e-4 * np.abs(g[f"grad_f_s{k}"]).max())


MAPS = [jnp.ones((2, 4, 4, 3)), jnp.ones((2, 1, 1, 5))]


def test_it_is_warmed_up_by_epochs_from_one():
    def at(step, **options):
        terms = reviewkd_objective(steps_per_epoch=10, **options).terms
        return float(jnp.mean(terms(look(taps(MAPS), taps(MAPS), step=step), {"0": 0 * MAPS[0], "1": 0 * MAPS[1]})["review"]))

    assert at(0, warmup_epochs=0) == 2.0  # 1 for each level
    np.testing.assert_allclose([at(0), at(9), at(10), at(190), at(999)], [0.1, 0.1, 0.2, 2, 2], rtol=1e-6)


def test_a_perfect_review_costs_nothing_and_the_width_follows_the_student():
    objective, seen = reviewkd_objective(steps_per_epoch=1), look(taps(MAPS), taps(MAPS))
    assert jnp.all(objective.terms(seen, {"0": MAPS[0], "1": MAPS[1]})["review"] == 0)
    params, _ = jax.eval_shape(objective.adapter.init, jax.random.key(0), seen)
    assert params["level0"]["conv1"]["kernel"].shape == (1, 1, 3, 5)
    assert params["level0"]["conv2"]["kernel"].shape == (3, 3, 5, 3)
    assert "attention" in params["level0"] and "attention" not in params["level1"]


def test_levels_take_the_teacher_s_size_and_the_next_one_fuses_that():
    objective = reviewkd_objective(steps_per_epoch=1, width=1)
    larger = [jnp.ones((2, 6, 3, 3)), MAPS[1]]
    seen = look(taps(MAPS), taps(larger))
    params, stats = jax.eval_shape(objective.adapter.init, jax.random.key(0), seen)
    adapted, _ = jax.eval_shape(lambda p, s: objective.adapter.apply(p, s, seen, train=True), params, stats)
    assert adapted["0"].shape == larger[0].shape and adapted["1"].shape == (2, 1, 1, 5)
    assert adapted["norm/level0/bn1"].shape == (2, 4, 4, 1) and adapted["norm/level0/bn2"].shape == larger[0].shape


def test_a_negative_width_is_refused():
    with pytest.raises(InputError, match="width=-1"):
        reviewkd_objective(steps_per_epoch=1, width=-1)


def test_the_defaults_are_the_authors():
    assert defaults(methods.reviewkd) == {
        "label_weight": 1.0, "steps_per_epoch": Parameter.empty, "weight": 5.0, "width": 0, "warmup_epochs": 20, "layers": (),
    }  # fmt: skip


def test_the_attention_starts_as_pytorch_s_convolution():
    objective, seen = reviewkd_objective(steps_per_epoch=1), look(taps(MAPS), taps(MAPS))
    layer = jax.jit(lambda key: objective.adapter.init(key, seen)[0]["level0"]["attention"])(jax.random.key(0))
    assert layer["kernel"].shape == (1, 1, 10, 2)
    assert all(np.abs(x).min() > 0 and np.abs(x).max() * np.sqrt(10) <= 1 for x in layer.values())
