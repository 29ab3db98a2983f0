"""Branches that rows leave out: which, how many, and what the others add."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, from_linen
from kdjax.models import BasicBlock, Bottleneck, PreactBlock, TransformerBlock, drop_path, resnet8, vit, wrn

KEY = jax.random.key(3)


class Doubled(nn.Module):
    """A branch that doubles, so that rows tell what was added."""

    rate: float
    exact: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train):
        kept = drop_path(self, len(x), self.rate, exact=self.exact, train=train, axis_name=self.axis_name)
        return {"out": x + kept.put(2 * kept.take(x)), "seen": kept.back(kept.take(x))}


def applied(x, *args, train=True, key=KEY, **options):
    return from_linen(Doubled(*args, **options)).apply({}, {}, x, train=train, key=key)[0]


def test_rows_leave_out_a_branch_and_the_others_make_up_for_it():
    x = jnp.ones((2000, 3))
    taps = applied(x, 0.25)
    added = np.asarray(taps["out"] - x)
    dropped = (added == 0).all(1)
    np.testing.assert_allclose(added[~dropped], 2 / 0.75, rtol=1e-6)
    assert abs(dropped.mean() - 0.25) < 0.04
    np.testing.assert_array_equal(taps["seen"], x)
    for train, rate in ((False, 0.25), (True, 0.0)):
        np.testing.assert_array_equal(applied(x, rate, train=train, key=None)["out"], 3 * x)


@pytest.mark.parametrize(("rate", "kept"), [(0.25, 8), (0.4, 6), (0.99, 1)])
def test_just_so_many_rows_take_a_branch(rate, kept):
    x = jnp.arange(1.0, 11.0)[:, None]
    taps, other = applied(x, rate, True), applied(x, rate, True, key=jax.random.key(4))
    share = np.asarray((taps["out"] - x) / x)[:, 0]
    assert (share > 0).sum() == kept and not np.array_equal(taps["out"], other["out"])
    np.testing.assert_allclose(share[share > 0], 2 * 10 / kept, rtol=1e-5)
    np.testing.assert_array_equal(taps["seen"][:, 0], np.where(share > 0, x[:, 0], 0))


def test_two_devices_draw_as_one():
    x = jnp.ones((8, 1))
    halves = jax.vmap(lambda x: applied(x, 0.5, axis_name="data")["out"], axis_name="data")(x.reshape(2, 4, 1))
    np.testing.assert_array_equal(halves.reshape(8, 1), applied(x, 0.5)["out"])


BLOCKS = {
    "basic": (BasicBlock(4), (8, 4, 4, 4)),
    "bottleneck": (Bottleneck(1), (8, 4, 4, 4)),
    "preactivated": (PreactBlock(4), (8, 4, 4, 4)),
    "transformer": (TransformerBlock(2), (8, 3, 4)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_all_nets_leave_out_whole_rows(name):
    block, shape = BLOCKS[name]
    x = jax.random.uniform(KEY, shape, minval=0.1)
    variables = jax.jit(lambda: block.init(KEY, x, False))()

    @jax.jit
    def twice(key):
        """By chance, and exactly so many."""
        masked, exact = (block.clone(drop_path=0.5, drop_path_exact=e) for e in (False, True))
        return [b.apply(variables, x, True, rngs={"dropout": key}, mutable=["batch_stats"])[0][0] for b in (masked, exact)]

    same = np.array(
        [[np.all(np.asarray(y == x), axis=tuple(range(1, x.ndim))) for y in twice(k)] for k in jax.random.split(KEY, 6)]
    )
    if name == "transformer":  # a row must miss both of its branches
        assert 0 < same[:, 0].mean() < 0.6 and 0 < same[:, 1].mean() < 0.6
    else:
        assert 0.2 < same[:, 0].mean() < 0.8 and (same[:, 1].sum(-1) == 4).all() and same[:, 1].any(0).sum() > 4


def test_a_constant_rate_holds_in_the_first_block_too(drawn):
    x = jax.random.uniform(KEY, (32, 4, 4, 1))
    for rule, drops in (("linear", False), ("constant", True)):
        net = vit(4, 8, 2, 2, 5, drop_path=0.7, drop_path_rule=rule)
        taps = net.apply(*drawn(net, x), x, train=True, key=KEY)[0]
        assert np.all(np.asarray(taps["block1"] == taps["tokens"]), (1, 2)).any() == drops


def drawn_like(shapes):
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)


@pytest.mark.parametrize("make", [resnet8, lambda **options: wrn(10, 1, **options), lambda **options: vit(4, 8, 2, 2, **options)])
def test_wrong_options_are_refused(make):
    with pytest.raises(InputError, match=r"^drop_path=1.0 is not accepted: expected a number from 0 to below 1"):
        make(drop_path=1.0)
    net, x = make(drop_path=0.5), jnp.zeros((2, 8, 8, 3))
    weights = jax.eval_shape(net.init, KEY, x)
    with pytest.raises(InputError, match="drop_path above 0 draws in training"):
        jax.eval_shape(lambda p, s: net.apply(p, s, x, train=True), *weights)
    exact = make(drop_path=0.5, drop_path_exact=True, axis_name="data")
    with pytest.raises(InputError, match="chooses among all rows of a batch: expected no mapped axis"):
        jax.eval_shape(jax.vmap(lambda x: exact.apply(*drawn_like(weights), x, train=True, key=KEY), axis_name="data"), x[None])
