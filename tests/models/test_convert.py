"""Weights from PyTorch: every net equals PyTorch's own on the same weights, and every mismatch is one line."""

from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import NETS, from_pytorch, resnet8, to_pytorch
from kdjax.models.pretrained.names import synonym
from tests.golden.parity.make import CIFAR, CLASSES, IMAGENET, images, kept, weight

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
TOLERANCE = 2e-5  # of the largest number of a tap; float32 here, float64 there


@lru_cache(maxsize=1)
def blank(net, channels=3):
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def by_formula(name, net):
    return {k: weight(k, x.shape) for k, x in to_pytorch(name, *blank(net)).items()}


def named(file):
    """The name and the net of a golden file."""
    name = file.removesuffix("_cifar")
    return name, NETS[name](CLASSES, **({"stem": "cifar"} if name != file else {}))


@pytest.mark.parametrize("file", (*CIFAR, *IMAGENET))
def test_taps_are_those_of_pytorch(file):
    name, net = named(file)
    params, stats = from_pytorch(name, by_formula(name, net), *blank(net))
    taps = jax.jit(lambda p, s, x: net.apply(p, s, x, train=False)[0])(params, stats, images(file))
    jax.clear_caches()  # a large net each
    with np.load(GOLDEN / f"{file}.npz") as golden:
        found = kept({tap: np.asarray(x) for tap, x in taps.items() if tap in golden.files})
        assert set(found) == set(golden.files) and {"stem", "stage3", "logits"} <= set(found)
        for tap, expected in golden.items():
            largest = max(np.abs(golden[t]).max() for t in (tap, tap.removesuffix("_map")))  # one channel alone may be silent
            assert found[tap].shape == expected.shape
            assert np.abs(found[tap] - expected).max() <= TOLERANCE * largest, tap


def refusal(state, name="resnet8", classes=10, **options):
    with pytest.raises(InputError) as info:
        from_pytorch(name, state, *blank(NETS[name](classes=classes, **options)))
    assert "\n" not in str(info.value)
    return str(info.value)


def test_the_first_layer_that_differs_is_named_with_both_shapes():
    narrow, wide = by_formula("resnet8", NETS["resnet8"](10)), by_formula("resnet8x4", NETS["resnet8x4"](10))
    said = refusal(narrow, "resnet8x4")
    assert said == "conv1.weight is (16, 3, 3, 3) in the file, resnet8x4 has (32, 3, 3, 3) (params/conv/kernel)"
    mixed = wide | {k: narrow[k] for k in reversed(narrow) if k.startswith(("layer3", "fc"))}
    said = refusal(dict(reversed(mixed.items())), "resnet8x4")  # the order is that of the net, not of the file
    assert said.startswith("layer3.0.conv1.weight is (64, 32, 3, 3) in the file, resnet8x4 has (256, 128, 3, 3)")
    assert "stage3_block1/conv1/kernel" in said
    assert refusal(narrow, classes=5) == "fc.weight is (10, 64) in the file, resnet8 has (5, 64) (params/classifier/kernel)"


def test_names_that_are_missing_or_left_over_are_named():
    state = by_formula("resnet8", NETS["resnet8"](10))
    said = refusal({k: x for k, x in state.items() if k != "layer2.0.bn1.running_var"})
    assert said.startswith(
        "layer2.0.bn1.running_var is not in the file, resnet8 has it (32,) (stats/batch_stats/stage2_block1/bn1/var)"
    )
    deeper = by_formula("resnet14", NETS["resnet14"](10))
    assert refusal(deeper) == "'layer1.1.conv1.weight' is (16, 16, 3, 3) in the file, resnet8 has none; 29 more"
    assert refusal({"a\nb": np.zeros(2), "c": np.zeros(1)}).endswith("(params/conv/kernel); the file has 'a\\nb', 'c'")
    assert refusal({}).endswith("the file has nothing else")


def test_numbers_that_are_none_are_refused():
    state = by_formula("resnet8", NETS["resnet8"](10))
    spoilt = state["bn1.weight"].copy()
    spoilt[3] = np.nan
    assert refusal(state | {"bn1.weight": spoilt}) == "bn1.weight holds numbers that are not finite"
    assert "bn1.weight is of type int8: expected floating" in refusal(state | {"bn1.weight": np.ones(16, np.int8)})
    assert refusal(state | {"bn1.running_var": -np.ones(16)}) == "bn1.running_var holds negative variances"


def test_a_net_without_a_map_is_refused():
    assert "PyTorch names of net 'conv_net' is not known; accepted: " in refusal({}, "conv_net", classes=10, widths=(4,))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.", "net."])
def test_prefixes_and_counters_are_taken_off(prefix):
    net = resnet8(10)
    state = by_formula("resnet8", net)
    named = {f"{prefix}{k}": x for k, x in state.items()} | {f"{prefix}bn1.num_batches_tracked": np.int64(3)}
    expected = from_pytorch("resnet8", state, *blank(net))
    jax.tree.map(np.testing.assert_array_equal, from_pytorch("resnet8", named, *blank(net)), expected)
    jax.tree.map(np.testing.assert_array_equal, from_pytorch("resnet8", named | {"other": np.zeros(1)}, *blank(net)), expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_that_of_the_net(dtype):
    net = resnet8(10)
    state = {k: x.astype(dtype) for k, x in by_formula("resnet8", net).items()}
    params, stats = from_pytorch("resnet8", state, *blank(net))
    assert {x.dtype for x in jax.tree.leaves((params, stats))} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(params["bn"]["scale"], state["bn1.weight"].astype(np.float32))


def test_an_encoder_takes_all_but_the_linear_layer():
    state = by_formula("wrn_16_1", NETS["wrn_16_1"](10))
    params, _ = from_pytorch("wrn_16_1", state, *blank(NETS["wrn_16_1"](0)))
    assert "classifier" not in params
    np.testing.assert_array_equal(params["bn"]["bias"], state["bn1.bias"])


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("classes", [10, 0])
def test_both_families_of_names_of_a_resnet_are_read(stem, classes):
    state = by_formula("resnet18", NETS["resnet18"](10, stem=stem))
    assert ("linear.bias" in state and "layer2.0.shortcut.0.weight" in state) == (stem == "cifar")
    other = {synonym(k): x for k, x in state.items()}
    assert ("fc.bias" in other and "layer2.0.downsample.0.weight" in other) == (stem == "cifar")
    net = NETS["resnet18"](classes, stem=stem)
    a, b = (from_pytorch("resnet18", s, *blank(net)) for s in (state, other))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("file", [*CIFAR, *IMAGENET, "wrn_28_10"])
def test_the_way_back_gives_the_same_weights(file):
    name, net = named(file)
    state = by_formula(name, net)
    again = to_pytorch(name, *from_pytorch(name, state, *blank(net)))
    assert list(again) == list(state)
    assert all(np.array_equal(again[k], x) and again[k].flags.c_contiguous for k, x in state.items())
