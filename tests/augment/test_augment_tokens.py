"""Hidden tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.augment import masked_tokens
from kdjax.core import InputError

TEXT = np.random.default_rng(0).integers(0, 9, (400, 50)).astype(np.int32)
BATCH = {"tokens": jnp.asarray(TEXT), "label": jnp.zeros(400, int), "index": jnp.arange(400)}


def masked(rows=slice(None), **options):
    keys = jax.random.split(jax.random.key(1), 400)[rows]
    return masked_tokens(tokens=9, **options)(keys, jax.tree.map(lambda x: x[rows], BATCH))


def test_shares_are_those_of_bert():
    found = masked(share=0.15)
    chosen, seen = np.asarray(found["label"]) >= 0, np.asarray(found["tokens"])
    np.testing.assert_array_equal(found["label"], np.where(chosen, TEXT, -1))
    np.testing.assert_array_equal(seen[~chosen], TEXT[~chosen])
    hidden, changed = (seen == 9)[chosen], (seen != TEXT)[chosen]
    # Of 20,000 tokens; a token by chance is 1 of 9 times the one that was there. Bounds of four standard errors.
    assert abs(chosen.mean() - 0.15) < 4 * (0.15 * 0.85 / 20_000) ** 0.5
    assert abs(hidden.mean() - 0.8) < 4 * (0.16 / chosen.sum()) ** 0.5
    others = (changed & ~hidden).mean()
    assert abs(others - 0.1 * 8 / 9) < 4 * (0.09 / chosen.sum()) ** 0.5
    assert set(seen[chosen & (seen != TEXT)]) == set(range(10))
    assert found["index"] is BATCH["index"]


def test_a_row_depends_on_its_own_key_alone():
    some = masked(slice(3, 5))
    for name in ("tokens", "label"):
        np.testing.assert_array_equal(some[name], masked()[name][3:5])
    assert not np.array_equal(masked()["tokens"][0] == 9, masked()["tokens"][1] == 9)


def test_wrong_shares_are_refused():
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match=f"^share={share} is not accepted: expected a share above 0, at most 1"):
            masked_tokens(share=share)
