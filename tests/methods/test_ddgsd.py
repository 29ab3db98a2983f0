import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, start
from own_lessons import KEY, same_as_golden, seen_of, total
from tiny_nets import images, without_batch_norm

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.ddgsd import ddgsd_objective
from kdjax.methods.self_distil.rows import parted


def in_turn(x):
    """Rows of the first view before those of the second, to rows 2i and 2i + 1."""
    return jnp.stack(jnp.split(x, 2), axis=1).reshape(x.shape)


def test_golden(golden):
    g = golden("self_kd_lib/ddgsd")
    objective = ddgsd_objective(temperature=g["hp_temperature"].item(), feature_weight=g["hp_feature_weight"].item())
    whole = combine(labels_objective(0.5), objective)

    def loss(logits, features):
        return total(whole, seen_of({"logits": in_turn(logits), "pooled": in_turn(features)}, g["labels"].repeat(2)))

    same_as_golden(g, loss, "logits", "feats")


def test_equal_views_teach_nothing():
    case = CASES["ddgsd"](net=without_batch_norm(), mmd="vector", feature_weight=1.0)
    same = case.batch | {"views": (images(), images())}
    new, metrics = jax.jit(case.method.step)(start(case), same, KEY)
    assert abs(metrics["imitation"]) < 1e-6 and metrics["mean_features"] < 1e-12
    plain = methods.supervised(without_batch_norm(), optax.sgd(1.0))  # its labels count once, at half the rate
    state = start(case._replace(method=plain, batch=case.batch))
    alone, _ = jax.jit(plain.step)(state, case.batch, KEY)
    moved = lambda a: jax.tree.leaves(a.learner.params["student"])  # noqa: E731
    for a, b in zip(moved(new), moved(alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_distance_is_that_of_mean_vectors():
    rng = np.random.default_rng(0)
    pooled, logits = rng.normal(size=(6, 4)).astype(np.float32), np.zeros((6, 3), np.float32)
    f, g = parted(pooled)
    found = {mmd: ddgsd_objective(mmd=mmd).terms(seen_of({"logits": logits, "pooled": pooled}), {}) for mmd in ("scalar", "vector")}
    np.testing.assert_allclose(found["scalar"]["mean_features"], (f.mean() - g.mean()) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found["vector"]["mean_features"], ((f.mean(0) - g.mean(0)) ** 2).sum(), rtol=1e-5)


def test_an_unknown_distance_is_refused():
    with pytest.raises(InputError, match=r"^mmd='kernel' is not accepted: expected 'scalar' or 'vector'"):
        methods.ddgsd(None, None, mmd="kernel")  # pyright: ignore
