"""What a file may hold and ask for, and what the refusal says: one rule for all forms."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file

from kdjax import models
from kdjax.core import InputError
from kdjax.core.tree_paths import by_path
from kdjax.models import to_pytorch, write_weights
from kdjax.train.teacher import read_teacher
from kdjax.train.weight_files import find, fit
from tests.torch_file import torch_file

SPECIFICATION = {"name": "resnet8", "classes": 5}
SHAPE = (8, 8, 3)


def weights(specification=SPECIFICATION, seed=0):
    net = models.build(specification)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), np.float32))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.uniform(0.1, 0.3, s.shape).astype(np.float32), shapes)


WEIGHTS = weights()
THEIRS = to_pytorch("resnet8", *WEIGHTS)


def write_kdjax(place, params, stats, **changed):
    write_weights(place, params, stats, SPECIFICATION | changed)


def write_orbax(place, params, stats):
    with ocp.StandardCheckpointer() as writer:
        writer.save(place, {"params": params, "stats": stats})


FORMS = {
    "kdjax": write_kdjax,
    "orbax": write_orbax,
    "safetensors": lambda place, *tree: save_file(to_pytorch("resnet8", *tree), place),
    "pytorch": lambda place, *tree: place.write_bytes(torch_file({"model": to_pytorch("resnet8", *tree)})),
}
SPOILT = {
    "not a number": (("params", "bn", "scale"), lambda x: np.where(x > 0, np.nan, x), "holds numbers that are not finite"),
    "infinity": (("params", "bn", "bias"), lambda x: x / np.float32(0), "holds numbers that are not finite"),
    "too large": (("params", "bn", "bias"), lambda x: x.astype(np.float64) * 1e300, "holds numbers that are not finite"),
    "whole numbers": (("params", "conv", "kernel"), lambda x: x.astype(np.int8), "is of type int8: expected floating numbers"),
    "variances": (("stats", "batch_stats", "bn", "var"), lambda x: -x, "holds negative variances"),
}


def changed(path, change):
    tree = jax.tree.map(np.copy, dict(zip(("params", "stats"), WEIGHTS, strict=True)))
    node = tree
    for name in path[:-1]:
        node = node[name]
    with np.errstate(divide="ignore"):
        node[path[-1]] = change(node[path[-1]])
    return tree["params"], tree["stats"]


def refusal(place, specification=SPECIFICATION, shape=SHAPE, **options):
    with pytest.raises(InputError) as info:
        read_teacher(place, specification, shape, **options)
    assert str(info.value).startswith(f"{place} is refused: ") and "\n" not in str(info.value)
    return str(info.value).removeprefix(f"{place} is refused: ")


@pytest.mark.parametrize("form", FORMS)
def test_numbers_that_no_net_may_hold_are_refused_in_every_form(form, tmp_path):
    for case, (path, change, line) in SPOILT.items():
        if form == "pytorch" and case == "too large":
            continue
        FORMS[form](tmp_path / case, *changed(path, change))
        assert line in refusal(tmp_path / case), case


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"mean": [0.5] * 3, "std": [0.2, 0.0, 0.2]}, "std=(0.2, 0.0, 0.2) is not accepted: expected finite numbers above 0"),
        ({"mean": [0.5] * 3, "std": [1e-60] * 3}, "std="),
        ({"mean": [0.5] * 3, "std": [float("inf")] * 3}, "std=inf is not accepted in a net"),
        ({"mean": [float("nan")] * 3, "std": [1.0] * 3}, "mean=nan is not accepted in a net"),
        ({"mean": [0.5] * 3}, "std=None is not accepted: expected finite numbers above 0"),
        ({"std": [0.5] * 3}, "mean=None is not accepted: expected finite numbers"),
        ({"mean": "a", "std": "b"}, "mean='a' is not accepted: expected finite numbers"),
        ({"classes": 10**10}, "classes=10000000000 is not accepted in a net: expected a number of at most 1048576"),
        ({"nets": [[[[[[[[[1]]]]]]]]]}, "nested at most 8 deep"),
        ({"nets": list(range(5000))}, "holds at most 4096 values"),
        ({"name": "ensemble", "nets": 3, "classes": 1}, "net 'ensemble': "),
        ({"name": "ensemble", "nets": [{}]}, "it does not say which net it holds"),
        ({"name": ["resnet8"]}, "is not known; accepted: "),
    ],
)
def test_specifications_that_ask_for_too_much_are_one_line(changes, line, tmp_path):
    write_kdjax(tmp_path / "a", *WEIGHTS, **changes)
    assert line in refusal(tmp_path / "a", {})


def test_a_net_of_more_layers_than_arrays_is_not_made(tmp_path):
    deep = json.dumps({"name": "wrn", "depth": 2044, "width": 1})
    save_file({"params/x": np.zeros(2, np.float32)}, tmp_path / "a", {"kdjax": deep})
    assert refusal(tmp_path / "a") == "wrn of such a size has more layers than the 1 arrays in it can fill"
    save_file({"params/x": np.zeros(2, np.float32)}, tmp_path / "b", {"kdjax": "[" * 100_000})
    assert "its metadata 'kdjax' is no specification of a net: '[[[" in refusal(tmp_path / "b")


def test_averaged_weights_lie_beside_or_instead(tmp_path):
    other = {k: x + 1 for k, x in THEIRS.items()}
    optimiser = {"state": {0: {"exp_avg": np.ones(2, np.float32)}}, "param_groups": [{"lr": 0.1}]}
    files = {
        "beside": {"epoch": 3, "state_dict": THEIRS, "state_dict_ema": other, "optimizer": optimiser},
        "inside": {"checkpoint": {"model": THEIRS, "model_ema": {"module": other}}},
        "instead": {"ema": {f"module.{k}": x for k, x in other.items()}, "best": np.ones((), np.float32)},
    }
    for name, value in files.items():
        (tmp_path / name).write_bytes(torch_file(value))

    def read(name, part=""):
        teacher = read_teacher(tmp_path / name, SPECIFICATION, SHAPE, part=part)
        return float(teacher.params["bn"]["bias"][0] - WEIGHTS[0]["bn"]["bias"][0]), teacher.told

    assert read("beside") == (0, "the weights under 'state_dict'; part=state_dict_ema takes the averaged ones")
    for part in ("ema", "state_dict_ema"):
        shift, told = read("beside", part)
        assert shift == pytest.approx(1)
        assert told == "the averaged weights under 'state_dict_ema'; part=state_dict takes the other ones"
    assert read("inside") == (0, "the weights under 'checkpoint.model'; part=checkpoint.model_ema.module takes the averaged ones")
    assert [read("instead", part)[0] for part in ("", "ema")] == pytest.approx([1, 1])
    assert read("instead")[1] == "the averaged weights under 'ema'"
    assert refusal(tmp_path / "beside", part="teacher") == "it has no part 'teacher'; accepted: none"


@pytest.mark.parametrize("key", ["weights", "params", "teacher", "model_state", "network"])
def test_weights_under_any_key(key, tmp_path):
    (tmp_path / "a").write_bytes(torch_file({key: THEIRS, "optimizer_state": THEIRS, "args": {"lr": 0.1}}))
    jax.tree.map(np.testing.assert_array_equal, read_teacher(tmp_path / "a", SPECIFICATION, SHAPE)[1:3], tuple(WEIGHTS))


def test_two_networks_are_not_chosen_between(tmp_path):
    (tmp_path / "a").write_bytes(torch_file({"student": THEIRS, "teacher": THEIRS}))
    assert refusal(tmp_path / "a") == "it holds several networks, under 'student', 'teacher': expected one of them as part=<name>"
    assert read_teacher(tmp_path / "a", SPECIFICATION, SHAPE, part="teacher").told.startswith("the weights under 'teacher'; ")
    write_kdjax(tmp_path / "b", *WEIGHTS)
    assert refusal(tmp_path / "b", part="ema") == "it has no part 'ema': it holds one network"


@pytest.mark.parametrize(("stem", "other"), [("cifar", "imagenet"), ("imagenet", "cifar")])
def test_a_stem_that_does_not_fit_names_the_option(stem, other, tmp_path):
    side = {"cifar": 3, "imagenet": 7}[stem]
    save_file({"conv1.weight": np.zeros((64, 3, side, side), np.float32)}, tmp_path / "a")
    said = refusal(tmp_path / "a", {"name": "resnet18", "classes": 5, "stem": other})
    assert said.endswith(f"(params/conv/kernel); net.stem={stem} has such a one")


VIT = {"name": "vit", "classes": 3, "patch": 4, "width": 8, "depth": 1, "heads": 2}


def test_positions_are_resized_where_asked(tmp_path):
    tree = weights(VIT)
    write_weights(tmp_path / "kdjax", *tree, VIT)
    save_file(to_pytorch("vit", *tree), tmp_path / "timm")
    for name in ("kdjax", "timm"):
        teacher = read_teacher(tmp_path / name, VIT, (16, 12, 3), resize=True)
        expected = models.resize_positions(tree[0], (16, 12))["positions"]
        np.testing.assert_allclose(teacher.params["positions"], expected, rtol=1e-6)
        assert teacher.told == "positions resized from (1, 5, 8) to (1, 13, 8)"
        assert refusal(tmp_path / name, VIT, (16, 12, 3)).endswith("; resize=true fits it to these images")
        assert read_teacher(tmp_path / name, VIT, SHAPE, resize=True).told == ""


@pytest.mark.parametrize("form", FORMS)
def test_another_head_is_left_to_be_made_anew(form, tmp_path):
    FORMS[form](tmp_path / "a", *WEIGHTS)
    found = find(tmp_path / "a")
    for classes, fresh in ((5, ()), (7, {"params/classifier/kernel", "params/classifier/bias"}), (0, ())):
        fitted = fit(found, SPECIFICATION | {"classes": classes}, SHAPE, new_head=True)
        assert set(fitted.fresh) == set(fresh)
        kept = by_path({"params": fitted.params, "stats": fitted.stats})
        whole = by_path(dict(zip(("params", "stats"), WEIGHTS, strict=True)))
        assert set(kept) == {k for k in whole if classes == 5 or "classifier" not in k}
        assert all(np.array_equal(x, whole[k]) for k, x in kept.items())
    with pytest.raises(InputError, match="conv"):
        fit(found, {"name": "resnet8x4", "classes": 5}, SHAPE, new_head=True)
