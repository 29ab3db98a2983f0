"""Networks of methods that start from given weights, by their names: those whose `init` is their own."""

import jax
import pytest
from cases import CASES, equal

from kdjax.core import InputError

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("dafl", "generator"),
        ("dafl", "student"),
        ("deep_inversion", "student"),
        ("mae", "decoder"),
        ("uslt", "heads"),
        ("hsakd", "branches"),
        ("tst", "student"),
        ("paraphraser", "paraphraser"),
        ("hssakd", "peer1"),
        ("simsiam", "predictor"),
    ],
)
def test_a_network_starts_by_its_name(name, network):
    case = CASES[name]()

    def weights(**start):
        return case.method.weights(case.method.init(KEY, case.batch, case.given, **start))[network]

    def both():
        own = jax.tree.map(lambda x: x + 1, weights())
        return own, weights(**{network: own})

    given, found = jax.jit(both)()
    assert jax.tree.leaves(given) and equal(given, found)
    with pytest.raises(InputError, match="network 'nobody' is not known") as caught:
        jax.eval_shape(lambda: weights(nobody=({}, {})))
    assert "\n" not in str(caught.value)
