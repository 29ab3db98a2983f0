"""The part of a file that a net is: one prefix, plain before averaged weights, and what was left over."""

import jax
import numpy as np
import pytest
from test_convert import blank, by_formula

from kdjax.core import InputError
from kdjax.models import resnet8
from kdjax.models.pretrained.convert import fit_pytorch
from kdjax.models.pretrained.prefix import choose, find_prefix

STATE = by_formula("resnet8", resnet8(10))
SHAPES = blank(resnet8(10))
BODY = {k: x for k, x in STATE.items() if not k.startswith("fc.")}
OTHER = {k: x + 1 for k, x in STATE.items()}
ONE = np.ones(1, np.float32)


def at(prefix, state=STATE):
    return {prefix + k: x for k, x in state.items()}


def split(state, body, head):
    return {(head if k.startswith("fc.") else body) + k: x for k, x in state.items()}


CASES = {
    "a wrapper": (at("timm_model."), ""),
    "wrappers": (at("_orig_mod.module."), ""),
    "an averaged model": (
        {"n_averaged": np.ones((), np.int64), **at("module.")},
        "the weights under 'module'; left over: n_averaged",
    ),
    "lightning": ({**at("model."), "criterion.weight": ONE}, "the weights under 'model'; left over: criterion.weight"),
    "a head beside": (split(STATE, "backbone.", "head."), ""),
    "a head of another name": (
        {**at("backbone.", BODY), "head.weight": STATE["fc.weight"], "head.bias": STATE["fc.bias"]},
        "",
    ),
    "moco": (
        {"module.queue": ONE, **at("module.encoder_k.", OTHER), **at("module.encoder_q.")},
        "the weights under 'module.encoder_q'; part=module.encoder_k takes the averaged ones; left over: module.queue",
    ),
    "only averaged ones": (at("ema_model."), "the averaged weights under 'ema_model'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_one_prefix_is_found_and_the_rest_named(case):
    state, told = CASES[case]
    found = fit_pytorch("resnet8", state, *SHAPES)
    jax.tree.map(np.testing.assert_array_equal, found[:2], fit_pytorch("resnet8", STATE, *SHAPES)[:2])
    assert found.told == told and found.fresh == ()


def test_a_part_can_be_asked_for():
    state = {**at("model."), **at("ema.", OTHER)}
    plain, averaged = (fit_pytorch("resnet8", s, *SHAPES)[:2] for s in (STATE, OTHER))
    for part, expected in (("", plain), ("model", plain), ("ema", averaged)):
        jax.tree.map(np.testing.assert_array_equal, fit_pytorch("resnet8", state, *SHAPES, part=part)[:2], expected)
    both = {**at("student."), **at("teacher.", OTHER)}
    jax.tree.map(np.testing.assert_array_equal, fit_pytorch("resnet8", both, *SHAPES, part="teacher")[:2], averaged)
    for files, part, line in (
        (both, "", "it holds several networks, under 'student', 'teacher': expected one of them as part=<name>"),
        (both, "ema", "it has no part 'ema'; accepted: 'student', 'teacher'"),
        (state, "net", "it has no part 'net'; accepted: 'ema', 'model'"),
    ):
        with pytest.raises(InputError) as info:
            fit_pytorch("resnet8", files, *SHAPES, part=part)
        assert str(info.value) == line


def test_what_fits_nowhere_is_told_under_the_nearest_prefix():
    less = {k: x for k, x in at("net.").items() if k != "net.layer2.0.bn1.running_var"}
    with pytest.raises(InputError, match=r"^layer2.0.bn1.running_var is not in the file"):
        fit_pytorch("resnet8", {**less, "other": ONE}, *SHAPES)
    with pytest.raises(InputError, match=r"^'extra' is \(1,\) in the file, resnet8 has none"):
        fit_pytorch("resnet8", {**at("net."), "net.extra": ONE}, *SHAPES)


def test_a_new_head_is_left_out():
    other = {k: x[:3] if k.startswith("fc.") else x for k, x in STATE.items()}
    for state in (other, BODY):
        found = fit_pytorch("resnet8", state, *SHAPES, new_head=True)
        assert found.fresh == ("params/classifier/kernel", "params/classifier/bias") and "classifier" not in found.params
        with pytest.raises(InputError, match=r"fc\.weight is "):
            fit_pytorch("resnet8", state, *SHAPES)


def test_many_names_cost_little():
    names = {f"a{i}.conv.weight": 0 for i in range(5000)}
    assert find_prefix(names, ["conv.weight", "fc.weight"], "", str).text == "a0."


def test_names_of_averages():
    assert choose(["state_dict_ema", "state_dict"], "")[0] == "state_dict"
    assert choose(["state_dict_ema", "state_dict"], "ema")[0] == "state_dict_ema"
    assert choose(["model", "aux"], "", ("model",))[0] == "model"
