import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.core import by_part, freeze, keep_unit_columns, skip_zero_gradients, with_norms

RNG = np.random.default_rng(0)
START = {"body": RNG.standard_normal((3, 2)).astype(np.float32), "head": RNG.standard_normal((3, 2)).astype(np.float32)}
GRADS = [{k: RNG.standard_normal(v.shape).astype(np.float32) for k, v in START.items()} for _ in range(4)]
OPTIMISERS = {
    "sgd": optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.1, 0.9)),
    "adam": optax.adamw(0.1, weight_decay=0.05),
}


def after(tx, grads=GRADS, start=START):
    params, state = jax.tree.map(jnp.asarray, start), tx.init(start)
    for g in grads:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("tx", OPTIMISERS.values(), ids=OPTIMISERS)
def test_what_the_loss_does_not_reach_is_left_alone(tx):
    """Weight decay would wear it down; what is reached learns as without."""
    grads = [{"body": g["body"], "head": 0 * g["head"]} for g in GRADS]
    kept, worn = after(skip_zero_gradients(tx), grads), after(tx, grads)
    np.testing.assert_array_equal(kept["head"], START["head"])
    assert np.all(worn["head"] != START["head"])
    np.testing.assert_array_equal(kept["body"], worn["body"])


@pytest.mark.parametrize("tx", OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_frozen_part_learns_later(tx):
    """Neither decay nor the momentum of the steps it was frozen in reaches it."""
    frozen = freeze(tx, ["head"], 2)
    assert np.array_equal(after(frozen, GRADS[:2])["head"], START["head"])
    np.testing.assert_array_equal(after(frozen)["body"], after(tx)["body"])
    if tx is OPTIMISERS["sgd"]:  # Adam counts its steps for all parts together
        np.testing.assert_allclose(after(frozen)["head"], after(tx, GRADS[2:])["head"], rtol=1e-6)
    assert np.all(after(frozen)["head"] != START["head"])


def test_columns_keep_their_length_and_direction():
    kept, free = after(keep_unit_columns(OPTIMISERS["sgd"], "head"), GRADS[:1]), after(OPTIMISERS["sgd"], GRADS[:1])
    np.testing.assert_allclose(np.linalg.norm(kept["head"], axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(kept["head"], np.asarray(free["head"]) / np.linalg.norm(free["head"], axis=0), rtol=1e-5)
    np.testing.assert_array_equal(kept["body"], free["body"])


def test_parts_have_optimisers_of_their_own():
    both = after(by_part(optax.sgd(0.1), head=optax.sgd(0.3)))
    np.testing.assert_array_equal(both["body"], after(optax.sgd(0.1))["body"])
    np.testing.assert_array_equal(both["head"], after(optax.sgd(0.3))["head"])


def test_norms_are_those_of_gradient_and_update():
    tx = optax.chain(with_norms(OPTIMISERS["adam"]), optax.scale(2.0))
    updates, state = tx.update(GRADS[0], tx.init(START), START)
    length = lambda tree: np.sqrt(sum(np.sum(np.asarray(x, np.float64) ** 2) for x in tree.values()))  # noqa: E731
    np.testing.assert_allclose(state[0].gradient_norm, length(GRADS[0]), rtol=1e-6)
    np.testing.assert_allclose(state[0].update_norm, length(updates) / 2, rtol=1e-6)
    np.testing.assert_array_equal(after(with_norms(OPTIMISERS["adam"]))["head"], after(OPTIMISERS["adam"])["head"])


@pytest.mark.parametrize(
    "wrap", [skip_zero_gradients, lambda tx: freeze(tx, ["head"], 1), lambda tx: keep_unit_columns(tx, "head")]
)
def test_what_an_optimiser_is_told_goes_to_the_parts_that_ask(wrap):
    plateau = optax.chain(OPTIMISERS["adam"], optax.contrib.reduce_on_plateau())
    for tx in (wrap(plateau), with_norms(wrap(plateau)), wrap(OPTIMISERS["sgd"])):
        tx.update(GRADS[0], tx.init(START), START, value=1.0)
