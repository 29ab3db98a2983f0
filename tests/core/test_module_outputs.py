import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.core.module_outputs import arguments_of, flatten, sown, taps_of

X = jnp.ones(2)


def test_an_array_is_logits_and_what_lies_inside_a_mapping_is_named_by_its_path():
    assert list(taps_of(X, None)) == ["logits"]
    assert list(taps_of({"z": X, "maps": (X, {"b": X, "a": X})}, None)) == ["z", "maps/0", "maps/1/a", "maps/1/b"]
    assert list(taps_of((X, X), lambda out: {"logits": out[1]})) == ["logits"]
    with pytest.raises(InputError, match=r"a module returned a tuple of 2: expected an array or a dict of arrays, or taps="):
        taps_of((X, X), None)


def test_what_is_sown_once_has_no_number():
    assert list(sown({"block": {"hidden": (X,), "twice": (X, X)}})) == ["block/hidden", "block/twice/0", "block/twice/1"]
    assert flatten({"a": {"b": (1, 2)}, "c": 3}) == {"a/b": (1, 2), "c": 3}


def test_a_tuple_is_several_arguments():
    assert arguments_of((1, 2)) == (1, 2) and arguments_of([1, 2]) == ([1, 2],)
