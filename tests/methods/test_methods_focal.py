import pytest
from cases import CASES
from own_lessons import learns_as_supervised, same_as_golden, seen_of, total

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.self_distil.focal import focal_objective


def test_golden(golden):
    g = golden("self_kd_lib/focal")
    same_as_golden(g, lambda z: total(focal_objective(gamma=2.0), seen_of({"logits": z}, g["labels"])), "logits_s")


def test_without_an_exponent_it_is_supervised_training():
    learns_as_supervised(CASES["focal"](gamma=0.0))


def test_a_negative_exponent_is_refused():
    with pytest.raises(InputError, match=r"^gamma=-1 is not accepted"):
        methods.focal(None, None, gamma=-1)  # pyright: ignore
