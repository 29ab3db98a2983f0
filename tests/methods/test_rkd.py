import jax.numpy as jnp
import numpy as np
from cases import defaults, look, unweighted

from kdjax import losses, methods
from kdjax.methods.offline.rkd import rkd_objective

RNG = np.random.default_rng(0)
POOLED = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)


def test_a_moved_turned_and_scaled_batch_is_as_good_and_a_shuffled_one_is_not():
    turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(4, 4)))[0], jnp.float32)
    moved = 3 * POOLED @ turn + jnp.ones((6, 4))
    assert unweighted(rkd_objective(), look({"pooled": moved}, {"pooled": POOLED})) < 1e-8
    assert unweighted(rkd_objective(), look({"pooled": moved}, {"pooled": POOLED[::-1]})) > 1e-2


def test_distances_and_angles_are_weighed_apart():
    objective = rkd_objective(distance_weight=3.0, angle_weight=7.0)
    found = objective.terms(look({"pooled": POOLED}, {"pooled": POOLED[::-1]}), {})
    assert found == {
        "distances": losses.relational_distance(POOLED, POOLED[::-1]), "angles": losses.relational_angle(POOLED, POOLED[::-1]),
    }  # fmt: skip
    assert objective.weights == {"distances": 3.0, "angles": 7.0}


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.rkd) == {"label_weight": 1.0, "distance_weight": 25.0, "angle_weight": 50.0}
