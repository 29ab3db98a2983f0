"""One contract over all nets: taps, batch norms, dtypes, modes, statistics of the global batch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kdjax import models
from kdjax.core.check import InputError
from kdjax.core.linen_net import from_linen
from kdjax.core.net import batch_norms
from kdjax.models import CLASSIFIERS, BasicBlock, Bottleneck, ResNet

CIFAR = {"stem": 16, "stage1": 16, "stage2": 32, "stage3": 64}
WIDE = {"stem": 32, "stage1": 64, "stage2": 128, "stage3": 256}

# name: options, side of the image, {tap: (side, channels)}, batch norms
EXPECTED = {
    "lenet5": ({}, 32, {"stage1": (28, 6), "stage2": (10, 16), "stage3": (1, 120)}, 0),
    "lenet5_half": ({}, 28, {"stage1": (24, 3), "stage2": (8, 8), "stage3": (1, 60)}, 0),
    "conv_net": ({}, 28, {"stem": (28, 16), "stage1": (28, 16), "stage2": (14, 32), "stage3": (7, 64)}, 3),
    **{
        f"resnet{d}": ({}, 32, {k: (s, CIFAR[k]) for k, s in zip(CIFAR, (32, 32, 16, 8), strict=True)}, d + 1)
        for d in (8, 14, 20, 32, 44, 56, 110)
    },
    **{f"resnet{d}x4": ({}, 32, {k: (s, WIDE[k]) for k, s in zip(WIDE, (32, 32, 16, 8), strict=True)}, d + 2) for d in (8, 32)},
    "wrn": ({"depth": 10, "width": 3}, 32, {"stem": (32, 16), "stage1": (32, 48), "stage2": (16, 96)}, 7),
    "wrn_16_1": ({}, 32, {"stem": (32, 16), "stage1": (32, 16), "stage2": (16, 32), "stage3": (8, 64)}, 13),
    "wrn_16_2": ({}, 32, {"stem": (32, 16), "stage1": (32, 32), "stage2": (16, 64), "stage3": (8, 128)}, 13),
    "wrn_28_10": ({}, 32, {"stem": (32, 16), "stage1": (32, 160), "stage2": (16, 320), "stage3": (8, 640)}, 25),
    "wrn_40_1": ({}, 32, {"stem": (32, 16), "stage1": (32, 16), "stage2": (16, 32), "stage3": (8, 64)}, 37),
    "wrn_40_2": ({}, 32, {"stem": (32, 16), "stage1": (32, 32), "stage2": (16, 64), "stage3": (8, 128)}, 37),
    "mobilenet_v2": ({}, 224, {"stem": (112, 32), "stage1": (56, 24), "stage3": (14, 96), "stage4": (7, 320)}, 52),
    "mobilenet_v2_half": (
        {},
        32,
        {"stem": (16, 16), "stage1": (16, 12), "stage2": (8, 16), "stage3": (4, 48), "stage4": (2, 160)},
        53,
    ),
    "shufflenet_v1": ({}, 32, {"stem": (32, 24), "stage1": (16, 240), "stage2": (8, 480), "stage3": (4, 960)}, 49),
    "shufflenet_v2": (
        {},
        32,
        {"stem": (32, 24), "stage1": (16, 116), "stage2": (8, 232), "stage3": (4, 464), "head": (4, 1024)},
        56,
    ),
    **{
        f"vgg{d}": (
            {},
            32,
            {"stem": (32, 64), "stage1": (16, 128), "stage2": (8, 256), "stage3": (4, 512), "stage4": (4, 512)},
            d - 3,
        )
        for d in (11, 13, 16, 19)
    },
    "vgg8": ({}, 64, {"stem": (64, 64), "stage1": (32, 128), "stage2": (16, 256), "stage3": (8, 512), "stage4": (4, 512)}, 5),
    "preact_resnet18": ({}, 32, {"stem": (32, 64), "stage1": (32, 64), "stage3": (8, 256), "stage4": (4, 512)}, 17),
    "resnet18": ({}, 224, {"stem": (56, 64), "stage1": (56, 64), "stage3": (14, 256), "stage4": (7, 512)}, 20),
    "resnet34": ({"stem": "cifar"}, 32, {"stem": (32, 64), "stage1": (32, 64), "stage4": (4, 512)}, 36),
    "resnet50": ({}, 224, {"stem": (56, 64), "stage1": (56, 256), "stage2": (28, 512), "stage4": (7, 2048)}, 53),
}
# Transformers have no stages and no batch norm: their taps are in test_vit.py and test_models_deit.py.
TRANSFORMERS = {
    "vit": {"patch": 4, "width": 16, "depth": 2, "heads": 2},
    **{name: {} for name in ("vit_tiny", "vit_small", "vit_base", "deit_tiny", "deit_small", "deit_base")},
}
# Nets around a net have tests of their own.
NESTED = {
    "projected": {"net": {"name": "resnet8", "classes": 0}, "tap": "stage3", "channels": 12, "size": (4, 4)},
    "branched": {"net": {"name": "resnet8"}},
    "shrunk": {"net": {"name": "resnet8"}},
}
OPTIONS = {name: row[0] for name, row in EXPECTED.items()} | TRANSFORMERS | NESTED
BEHIND_THE_LAST_NORM = ("cls", "distillation", "patches", "logits_class", "logits_distillation")


def images(side, batch=2, channels=3):
    return jax.ShapeDtypeStruct((batch, side, side, channels), jnp.float32)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_taps_shapes_and_types(name):
    """One trace, of bfloat16, as all that shapes follow from is the same in float32."""
    side = EXPECTED[name][1] if name in EXPECTED else 32
    net = CLASSIFIERS[name](classes=7, dtype=jnp.bfloat16, **OPTIONS[name])

    def trace(x):
        params, stats = net.init(jax.random.key(0), x)
        taps, new = net.apply(params, stats, x, train=True)
        if name in EXPECTED:
            check_blocks(name, params, taps)
        return params, stats, taps, new

    params, stats, taps, new = jax.eval_shape(trace, images(side))
    assert jax.tree.structure(new) == jax.tree.structure(stats)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, stats, new))} == {jnp.dtype("float32")}
    wide = ("pooled", "logits", "joint1", "joint2", "joint3", *(BEHIND_THE_LAST_NORM if name in TRANSFORMERS else ()))
    for tap, value in taps.items():
        assert value.dtype == (jnp.float32 if tap.removeprefix("then/") in wide else jnp.bfloat16), tap
    if name in EXPECTED:
        last = {"stage4_preact": taps["stage4"]} if name == "preact_resnet18" else {}  # no norm and no ReLU follow it
        check_shapes(taps | last, stats, *EXPECTED[name][2:])


def check_blocks(name, params, taps):
    """Every block has its tap, and the last is the stage."""
    blocks = [f"{m[1]}_block{m[2]}" for k in params if (m := re.fullmatch(r"(stage\d+)_(?:block|conv)(\d+)", k))]
    assert [k for k in taps if "_block" in k and not k.startswith("norm/")] == blocks
    assert blocks or name in ("conv_net", "lenet5", "lenet5_half")
    lasts = {block.split("_")[0]: block for block in blocks}
    assert all(taps[stage] is taps[block] for stage, block in lasts.items())


def check_shapes(taps, stats, expected, norms):
    stages = [k for k in taps if k.removeprefix("stage").isdigit()]
    assert stages == [f"stage{i + 1}" for i in range(len(stages))]
    for tap, (size, channels) in expected.items():
        assert taps[tap].shape == (2, size, size, channels), tap
    for stage in stages:
        assert taps[stage + "_preact"].shape == taps[stage].shape
    assert taps["pooled"].shape == (2, taps["head" if "head" in taps else stages[-1]].shape[-1])
    assert taps["logits"].shape == (2, 7)
    assert len(batch_norms(taps, stats)) == norms
    assert len(jax.tree.leaves(stats)) == 2 * norms


@pytest.mark.parametrize(("name", "classes"), [(name, 0) for name in CLASSIFIERS if name != "branched"] + [("conv_net", None)])
def test_encoders_have_no_logits_and_take_grey_images(name, classes, shapes):
    params, _, taps, _ = shapes(CLASSIFIERS[name](classes=classes, **OPTIONS[name]), images(32, channels=1), train=False)
    assert "logits" not in taps
    assert "classifier" not in params
    assert taps["pooled"].shape[0] == 2


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_negative_number_of_classes_is_refused(name):
    with pytest.raises(InputError, match="classes=-1"):
        CLASSIFIERS[name](classes=-1, **OPTIONS[name])


def test_names_are_the_functions():
    assert all(f is getattr(models, name) for name, f in CLASSIFIERS.items())
    assert all(hasattr(models, name) for name in models.__all__)


def small_bottleneck(classes=5, *, dtype=jnp.float32, axis_name=None):
    return from_linen(ResNet((1, 1), (4, 8), Bottleneck, "imagenet", 4, classes, dtype=dtype, axis_name=axis_name))


def small_basic(classes=5, *, dtype=jnp.float32, axis_name=None):
    return from_linen(ResNet((1, 1), (4, 8), BasicBlock, "cifar", 4, classes, dtype=dtype, axis_name=axis_name))


SMALL = {
    "conv_net": (lambda **k: models.conv_net((4, 6), 5, **k), (8, 8, 8, 1), "logits"),
    "basic": (small_basic, (8, 6, 6, 3), "logits"),
    "bottleneck": (small_bottleneck, (8, 9, 9, 3), "logits"),
    "wrn": (lambda **k: models.wrn(10, 1, 5, **k), (8, 6, 6, 3), "logits"),
    "vit": (lambda **k: models.vit(2, 8, 2, 2, 5, **k), (8, 4, 6, 3), "logits"),
    "mlp_head": (lambda **k: models.mlp_head(6, 4, **k), (8, 5), "embedding"),
    "generator": (lambda **k: models.generator((5, 6), channels=1, features=4, **k), (8, 3), "image"),
    "dcgan": (lambda **k: models.dcgan(8, channels=1, features=4, **k), (8, 3), "image"),
    "dcgan_critic": (lambda **k: models.dcgan_critic(widths=(4, 6), **k), (8, 8, 9, 1), "logit"),
}


@pytest.fixture
def built(drawn):
    def build(name):
        make, shape, tap = SMALL[name]
        net, x = make(), jax.random.normal(jax.random.key(1), shape)
        return net, x, tap, *drawn(net, x)

    return build


def assert_close(a, b, tolerance=2e-5):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b)


@pytest.mark.parametrize("name", SMALL)
def test_two_halves_are_the_whole(name, built):
    net, x, tap, params, stats = built(name)
    whole, new = jax.jit(lambda x: net.apply(params, stats, x, train=True))(x)
    split = SMALL[name][0](axis_name="data")
    halves, parts = jax.jit(jax.vmap(lambda x: split.apply(params, stats, x, train=True), axis_name="data"))(
        x.reshape(2, 4, *x.shape[1:])
    )
    assert_close(halves[tap].reshape(whole[tap].shape), whole[tap])
    for i in (0, 1):
        assert_close(jax.tree.map(lambda s, i=i: s[i], parts), new)


@pytest.mark.parametrize("name", SMALL)
def test_evaluation_keeps_statistics_and_rows_apart(name, built):
    net, x, tap, params, stats = built(name)
    evaluate = jax.jit(lambda s, x: net.apply(params, s, x, train=False))
    _, moved = jax.jit(lambda x: net.apply(params, stats, x, train=True))(x)
    taps, kept = evaluate(moved, x)
    assert all(bool(jnp.any(a != b)) for a, b in zip(*map(jax.tree.leaves, (stats, moved)), strict=True))
    jax.tree.map(np.testing.assert_array_equal, kept, moved)
    assert_close(evaluate(moved, x.at[1:].multiply(-1.0))[0][tap][0], taps[tap][0], 1e-5)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "vit"])
def test_running_statistics_are_those_of_the_inputs(name, built):
    net, x, _, params, stats = built(name)
    taps, new = jax.jit(lambda x: net.apply(params, stats, x, train=True))(x)
    layers = batch_norms(taps, new)
    assert layers
    for (inputs, mean, variance), (_, old_mean, old_variance) in zip(layers, batch_norms(taps, stats), strict=True):
        axes = tuple(range(inputs.ndim - 1))
        assert_close(mean, 0.9 * old_mean + 0.1 * np.mean(inputs, axes), 1e-4)
        assert_close(variance, 0.9 * old_variance + 0.1 * np.var(inputs, axes), 1e-4)


@pytest.mark.parametrize("name", ["conv_net", "wrn", "mlp_head", "generator", "dcgan"])
def test_bfloat16_is_near_float32_and_trains(name, built):
    net, x, tap, params, stats = built(name)
    low = SMALL[name][0](dtype=jnp.bfloat16)

    def run(n):
        def loss(p):
            taps, new = n.apply(p, stats, x, train=True)
            return jnp.mean(jnp.square(taps[tap])), (taps[tap], new)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    (_, (exact, _)), _ = run(net)
    (_, (near, new)), gradients = run(low)
    assert near.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((gradients, new))} == {jnp.dtype("float32")}
    assert float(jnp.abs(near - exact).mean()) < 0.1 * float(exact.std())


def test_a_training_step_inside_scan_is_the_step_outside(built):
    net, x, _, params, stats = built("basic")

    def step(carry, _):
        p, s = carry

        def loss(p):
            taps, new = net.apply(p, s, x, train=True)
            return jnp.mean(jnp.square(taps["logits"] - 1.0)), new

        (value, s), g = jax.value_and_grad(loss, has_aux=True)(p)
        return (jax.tree.map(lambda a, b: a - 0.05 * b, p, g), s), value

    scanned, losses = jax.jit(lambda c: lax.scan(step, c, None, length=2))((params, stats))
    single = jax.jit(step)
    carry, first = single((params, stats), None)
    carry, second = single(carry, None)
    assert_close(losses, jnp.stack([first, second]), 1e-4)
    assert_close(scanned, carry, 1e-4)
    assert losses[1] < losses[0]
