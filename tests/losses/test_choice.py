"""Draws without repeats: any set as likely as any other."""

import functools
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs
from scipy.stats import chisquare

from kdjax import losses
from kdjax.losses._choice import choose

KEYS = jax.random.split(jax.random.key(3), 6000)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def drawn(size, draws, least, most):
    """`[6000, K]`."""
    return jax.vmap(lambda key: choose(key, size, draws, least=least, most=most))(KEYS)


@pytest.mark.parametrize(
    ("size", "draws", "least", "most"),
    [(6, 2, 6, 6), (6, 3, 2, 9), (6, 3, 6, 6), (5, 3, 5, 5), (5, 3, 2, 9), (6, 5, 6, 6)],
)  # by leaving out what comes twice, and by shuffling; alone, and where tracing knows only bounds
def test_every_set_is_equally_likely(size, draws, least, most):
    rows = np.asarray(drawn(jnp.int32(size), draws, least, most))
    sets = {frozenset(c): 0 for c in combinations(range(size), draws)}
    for row in rows:
        sets[frozenset(row.tolist())] += 1  # KeyError where one comes twice or is too large
    assert chisquare(list(sets.values())).pvalue > 1e-3
    for column in rows.T:
        assert chisquare(np.bincount(column, minlength=size)).pvalue > 1e-3


def test_repeats_where_more_are_asked_for_than_there_are():
    for least, most in ((3, 3), (2, 20)):
        rows = np.asarray(drawn(jnp.int32(3), 4, least, most))
        counts = np.bincount(rows @ [27, 9, 3, 1], minlength=81)
        assert chisquare(counts).pvalue > 1e-3


def test_too_few_different_draws_are_drawn_again():
    # Two numbers of two by rejection: the six draws of a try are all equal once in 32 tries.
    from kdjax.losses._choice import _different

    rows = np.asarray(jax.jit(jax.vmap(lambda key: _different(key, jnp.int32(2), 2, tries=3)))(KEYS))
    assert (rows.sum(1) == 1).all() and chisquare(np.bincount(rows[:, 0])).pvalue > 1e-3


def test_the_work_of_a_draw_does_not_grow_with_the_bank():
    def work(n):
        labels = np.arange(n) % 10
        draw = jax.make_jaxpr(lambda key, index: losses.crd_contrast(key, index, labels, negatives=8))
        return sum(out.aval.size for jaxpr in _all(draw(KEYS[0], jnp.arange(4)).jaxpr) for e in jaxpr.eqns for out in e.outvars)

    assert work(100) == work(50000)


def _all(jaxpr):
    yield jaxpr
    for inner in subjaxprs(jaxpr):
        yield from _all(inner)
