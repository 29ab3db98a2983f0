import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core
from kdjax.core.check import check_rows


def positive(value):
    core.check_option("temperature", value, lambda t: t > 0, "a number above 0")


@pytest.mark.parametrize(
    "value",
    [0, -1.5, "hot", "two\nlines", None, np.arange(5000.0), np.zeros((4, 4)), [[1, 2]] * 500, {"a": np.eye(9)}, float("nan")],
    ids=lambda v: type(v).__name__,
)
def test_a_bad_option_is_refused_in_one_line(value):
    with pytest.raises(core.InputError) as refused:
        positive(value)
    message = str(refused.value)
    assert "\n" not in message and len(message) < 150
    assert message.startswith("temperature=") and message.endswith("expected a number above 0")
    assert isinstance(refused.value, ValueError)


def test_a_message_stays_one_line_whatever_is_named_in_it():
    assert str(core.InputError("image a\nb\r\u2028c.png: no\tway")) == "image a\\nb\\n\\nc.png: no\tway"


def test_a_short_value_is_shown_whole():
    with pytest.raises(core.InputError, match=r"^temperature=-1.5 is not accepted: expected a number above 0$"):
        positive(-1.5)


def test_good_values_and_tracers_pass():
    for value in (4, 0.5, np.float32(2), jnp.float32(2)):
        positive(value)
    jax.jit(positive)(-1.0)
    jax.vmap(positive)(jnp.array([-1.0, 2.0]))


def test_errors_of_other_kinds_are_not_hidden():
    def broken(_):
        raise KeyError("a bug in the predicate")

    with pytest.raises(KeyError):
        core.check_option("temperature", 1.0, broken, "a number")


@pytest.mark.parametrize(
    ("check", "good", "bad", "accepted"),
    [
        (core.check_positive, (1e-9, 3), (0, -1.0, "a"), "a number above 0"),
        (core.check_share, (0, 0.5, 1), (-0.1, 1.1, None), "a number from 0 to 1"),
        (core.check_count, (1, 7), (0, -2, "a"), "a whole number of at least 1"),
    ],
)
def test_options_are_checked_together_and_the_bad_one_is_named(check, good, bad, accepted):
    for value in good:
        check(first=value, second=good[0])
    for value in bad:
        with pytest.raises(core.InputError, match=rf"^second={value!r} is not accepted: expected {accepted}$"):
            check(first=good[0], second=value)
    jax.eval_shape(lambda x: check(first=x), 1.0)  # traced in a sweep


def test_nearest_names_come_first():
    assert core.nearest("resnt20", ["wide", "vgg", "resnet20"]) == "resnet20, vgg, wide"
    assert core.nearest("qqq", ["b", "a"]) == "a, b"


def test_pick():
    assert core.pick("net", "a", {"a": 3}) == 3
    with pytest.raises(core.InputError, match=r"^net 'conv_nt' is not known; accepted: conv_net, wrn$"):
        core.pick("net", "conv_nt", {"wrn": 1, "conv_net": 2})


@pytest.mark.parametrize(
    ("rows", "devices", "fine"), [(1, None, False), (2, None, True), (1, 1, False), (1, 2, True), (2, 1, True)]
)
def test_one_row_is_refused_at_trace_time_where_no_other_device_has_more(rows, devices, fine):
    def layer(x):
        check_rows(x.shape[0], None if devices is None else "data", "batch norm 'bn'")
        return x

    x = jnp.zeros((devices or 1, rows))
    mapped = jax.vmap(layer, axis_name="data")
    if fine:
        jax.eval_shape(mapped, x)
    else:
        with pytest.raises(
            core.InputError, match=r"^batch norm 'bn' in training is given 1 row, which is not accepted: expected 2 or more"
        ):
            jax.eval_shape(mapped, x)
