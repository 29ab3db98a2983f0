import pytest

from kdjax.core import InputError
from kdjax.core.switch import check_switch, switched, usual, without_switch


def test_usual_names_are_found_and_set():
    names = usual(["x", "train", "training", "is_training", "mode", "deterministic", "use_running_average", "mask"])
    assert switched(names, True) == {
        "train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False,
    }  # fmt: skip
    assert switched(names, False) == {name: not value for name, value in switched(names, True).items()}


def test_a_function_that_fails_in_one_mode_is_refused():
    check_switch(None)
    check_switch(lambda on: {"mode": on})
    with pytest.raises(InputError, match=r"^train=.* is not accepted"):
        check_switch(lambda on: {} if on else None)


def test_the_refusal_names_the_module_and_what_is_accepted():
    said = str(without_switch([], "Dropout 'drop'"))
    assert said.startswith("list holds Dropout 'drop' and has no train switch: expected") and "\n" not in said
    assert all(word in said for word in ("train,", "training", "is_training", "deterministic", "use_running_average", "lambda on"))
