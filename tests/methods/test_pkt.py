import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.pkt import pkt_objective

RNG = np.random.default_rng(0)
POOLED = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)


def term(student, teacher, **options):
    return unweighted(pkt_objective(**options), look({"pooled": student}, {"pooled": teacher}))


@pytest.mark.parametrize("variant", ["mean", "paper"])
def test_turned_and_scaled_features_are_as_good_and_shuffled_ones_are_not(variant):
    turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(4, 4)))[0], jnp.float32)
    turned = jnp.pad(3 * POOLED @ turn, ((0, 0), (0, 2)))
    assert abs(term(turned, POOLED, variant=variant)) < 1e-6
    assert term(turned, POOLED[::-1], variant=variant) > 1e-3


def test_the_paper_sums():
    assert term(POOLED, POOLED[::-1], variant="paper") > 10 * term(POOLED, POOLED[::-1])


def test_another_variant_is_refused():
    with pytest.raises(InputError, match="variant='sum'"):
        term(POOLED, POOLED, variant="sum")


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.pkt) == {"label_weight": 1.0, "weight": 30000.0, "variant": "mean"}
