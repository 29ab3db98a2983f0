import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import Node, static


class Pair(Node):
    """Two arrays and a word."""

    first: jax.Array
    second: jax.Array
    name: str = static(default="a")


PAIR = Pair(jnp.arange(3.0), jnp.ones(2))


def test_arrays_are_leaves_by_the_names_of_their_fields():
    found = jax.tree_util.tree_leaves_with_path(PAIR)
    assert [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found] == ["first", "second"]
    doubled = jax.jit(lambda x: jax.tree.map(lambda y: 2 * y, x))(PAIR)
    assert isinstance(doubled, Pair) and doubled.name == "a"
    np.testing.assert_array_equal(doubled.first, [0, 2, 4])


def test_another_static_value_is_another_program():
    traced = []
    program = jax.jit(lambda x: traced.append(x.name) or x.first.sum())
    for one in (PAIR, PAIR.replace(first=jnp.zeros(3)), PAIR.replace(name="b"), PAIR):
        program(one)
    assert traced == ["a", "b"]
    assert jax.tree.structure(PAIR) != jax.tree.structure(PAIR.replace(name="b"))


def test_it_does_not_change_and_knows_its_fields():
    with pytest.raises(AttributeError):
        PAIR.first = 0  # pyright: ignore
    with pytest.raises(TypeError, match="third"):
        PAIR.replace(third=1)
