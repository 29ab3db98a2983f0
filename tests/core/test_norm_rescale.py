import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, norm_rescale

RNG = np.random.default_rng(0)
ONE, TWO = ({"conv": {"kernel": x * RNG.normal(size=(3, 3, 2, 4)), "bias": x * RNG.normal(size=4)}} for x in (1, 7))


def length(x):
    return np.linalg.norm(np.float64(x).ravel())


def test_golden(golden):
    g = golden("revisit_airl/norm_rescale")
    names = [k.removeprefix("rescaled_") for k in g if k.startswith("rescaled_")]
    assert len(names) == 4
    found = norm_rescale({k: g[f"b_{k}"] for k in names}, {k: g[f"a_{k}"] for k in names})
    for k in names:
        np.testing.assert_allclose(found[k], g[f"rescaled_{k}"], rtol=2e-6, err_msg=k)


def test_lengths_are_those_of_the_reference_and_directions_stay():
    found = jax.jit(norm_rescale)(ONE, TWO)
    assert jax.tree.structure(found) == jax.tree.structure(ONE)
    for w, v, x in zip(*map(jax.tree.leaves, (ONE, TWO, found)), strict=True):
        np.testing.assert_allclose(length(x), length(v), rtol=1e-6)
        np.testing.assert_allclose(x / length(x), w / length(w), rtol=1e-5)
    same = norm_rescale(ONE, ONE)
    np.testing.assert_allclose(same["conv"]["kernel"], ONE["conv"]["kernel"], rtol=1e-6)


def test_zeros_stay_and_whole_numbers_pass():
    params = {"beta": jnp.zeros(3), "scale": jnp.float32(-2), "count": jnp.int32(5), "short": jnp.full(3, 1e-30)}
    reference = {"beta": jnp.ones(3), "scale": jnp.float32(3), "count": jnp.int32(9), "short": jnp.ones(3)}
    found = norm_rescale(params, reference)
    assert found["beta"].tolist() == [0, 0, 0] and float(found["scale"]) == -3 and int(found["count"]) == 5
    np.testing.assert_array_equal(found["short"], params["short"])
    assert norm_rescale(reference, params)["beta"].tolist() == [0, 0, 0]  # the length of the reference is 0


def test_types_stay_and_short_floats_are_summed_in_long_ones():
    many = jnp.full(4096, 0.1, jnp.bfloat16)
    found = norm_rescale({"w": many}, {"w": jnp.ones(4096)})["w"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(found), 1.0)
    np.testing.assert_allclose(norm_rescale({"w": jnp.full(3, 1e30)}, {"w": jnp.ones(3)})["w"], 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ({"conv": {"kernel": ONE["conv"]["kernel"]}}, r"params hold \(4,\) at 'conv/bias' and reference nothing: expected"),
        ({**ONE, "head": np.ones(2)}, r"params hold nothing at 'head' and reference \(2,\)"),
        ({"conv": {**ONE["conv"], "bias": np.ones(5)}}, r"params hold \(4,\) at 'conv/bias' and reference \(5,\)"),
    ],
)
def test_trees_that_differ(reference, line):
    with pytest.raises(InputError, match=line) as error:
        norm_rescale(ONE, reference)
    assert "\n" not in str(error.value)
