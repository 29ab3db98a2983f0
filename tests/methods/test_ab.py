import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.ab import ab_objective

RNG = np.random.default_rng(0)
MAP = jnp.asarray(RNG.normal(size=(6, 4, 4, 3)), jnp.float32)


def taps(*maps):
    """Stages after ReLU, and before it."""
    named = {f"stage{k}": x for k, x in enumerate(maps, 1)}
    return {name: jax.nn.relu(x) for name, x in named.items()} | {f"{name}_preact": x for name, x in named.items()}


def boundary(student, teacher, **options):
    return unweighted(ab_objective(**options), look(student, teacher), {}, {})


@pytest.mark.parametrize(("name", "count"), [("repdistiller/ab", 2), ("repdistiller/ab_margin2", 3)])
def test_golden_with_the_code_s_factors(golden, name, count):
    g = golden(name)
    teacher = taps(*(jnp.asarray(g[f"f_t{k}"]) for k in range(count)))

    def loss(maps):
        return 3 / 1000 * boundary(taps(*maps), teacher, margin=float(g["hp_margin"]))

    value, slopes = jax.value_and_grad(loss)([jnp.asarray(g[f"f_s{k}"]) for k in range(count)])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for k, slope in enumerate(slopes):
        wanted = g[f"grad_f_s{k}"]
        np.testing.assert_allclose(slope, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_only_the_side_of_the_boundary_counts():
    beyond = jnp.where(MAP > 0, 1.0, -1.0) * (1 + jnp.abs(MAP[::-1]))
    assert boundary(taps(beyond), taps(MAP)) == 0
    assert boundary(taps(beyond), taps(100 * MAP)) == 0
    assert boundary(taps(beyond), taps(-MAP)) > 1


def test_maps_of_other_shapes_pass_a_connector_without_relu():
    objective = ab_objective()
    seen = look(taps(MAP, MAP), taps(MAP, jnp.ones((6, 2, 2, 5))))
    params, stats = objective.adapter.init(jax.random.key(0), seen)
    assert list(params) == ["connector1"] and set(params["connector1"]) == {"conv", "bn"}
    adapted, _ = objective.adapter.apply(params, stats, seen, train=True)
    assert adapted["1"].shape == (6, 2, 2, 5) and adapted["1"].min() < 0
    np.testing.assert_array_equal(adapted["0"], MAP)


def test_layers_by_name_have_the_weights_of_their_order():
    student, teacher = taps(MAP, MAP[::-1]), taps(-MAP, MAP)
    first, last = (boundary(student, teacher, layers=(name,)) for name in ("stage1", "stage2"))
    np.testing.assert_allclose(boundary(student, teacher), first / 2 + last, rtol=1e-5)
    with pytest.raises(InputError, match="tap 'stage3_preact' is not one of the student's"):
        boundary(student, teacher, layers=("stage3",))


def test_the_defaults_are_the_code_s():
    assert defaults(methods.ab) == {"weight": 3 / 1000, "margin": 1.0, "layers": ()}
