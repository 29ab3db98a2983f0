"""ResNet-18, 34 and 50: parameters counted by hand, stems, strides, initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.core.linen_net import from_linen
from kdjax.models import Bottleneck, ResNet, parameter_count, resnet18, resnet34, resnet50

NETS = {
    "resnet18": (resnet18, (2, 2, 2, 2)),
    "resnet34": (resnet34, (3, 4, 6, 3)),
    "resnet50": (resnet50, (3, 4, 6, 3)),
}


def by_hand(depths, expansion, stem, classes):
    def conv_norm(kernel, a, b):
        return kernel * kernel * a * b + 2 * b

    total, a = conv_norm(stem, 3, 64), 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        b = width * expansion
        for i in range(depth):
            if expansion == 1:
                total += conv_norm(3, a, b) + conv_norm(3, b, b)
            else:
                total += conv_norm(1, a, width) + conv_norm(3, width, width) + conv_norm(1, width, b)
            if i == 0 and a != b:
                total += conv_norm(1, a, b)
            a = b
    return total + a * classes + classes


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("stem", "kernel", "classes"), [("imagenet", 7, 1000), ("cifar", 3, 100)])
def test_parameter_counts(name, stem, kernel, classes):
    make, depths = NETS[name]
    count = parameter_count(make(classes, stem=stem), (1, 64, 64, 3))
    assert count == by_hand(depths, 4 if name == "resnet50" else 1, kernel, classes)


def test_counts_known_to_the_last_digit():
    assert [parameter_count(make(), (1, 224, 224, 3)) for make, _ in NETS.values()] == [
        11_689_512,
        21_797_672,
        25_557_032,
    ]


def small(**options):
    return from_linen(ResNet((1, 1), (4, 8), Bottleneck, "imagenet", 4, 3, **options))


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution(shapes):
    net, x = small(), jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    _, _, taps, _ = shapes(net, x)
    block = [taps[f"norm/stage2_block1/{bn}"].shape for bn in ("bn1", "bn2", "bn3", "shortcut_bn")]
    assert block == [(2, 4, 4, 8), (2, 2, 2, 8), (2, 2, 2, 32), (2, 2, 2, 32)]


def test_the_stem_pools_with_one_pixel_on_every_side(drawn):
    net, x = small(), jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
    params, stats = drawn(net, x)
    taps, _ = jax.jit(lambda x: net.apply(params, stats, x, train=False))(x)
    p, s = jax.tree.map(np.asarray, (params["bn"], stats["batch_stats"]["bn"]))
    before = (np.asarray(taps["norm/bn"])[0] - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
    before = np.maximum(before, 0)
    padded = np.pad(before, ((1, 1), (1, 1), (0, 0)))
    pooled = [[padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(taps["stem"][0], pooled, rtol=1e-5)
    for stage in ("stage1", "stage2"):
        np.testing.assert_array_equal(taps[stage], np.maximum(taps[stage + "_preact"], 0))


@pytest.mark.parametrize(("make", "last"), [(resnet18, "bn2"), (resnet34, "bn2"), (resnet50, "bn3")])
@pytest.mark.parametrize("zero", [False, True])
def test_zero_init_last(make, last, zero):
    net = make(3, stem="cifar", zero_init_last=zero)

    def scales(key):  # nobody reads the kernels, so they are not computed
        params, _ = net.init(key, jnp.zeros((1, 4, 4, 3)))
        blocks = {name: block for name, block in params.items() if "_block" in name}
        return {name: {k: v["scale"] for k, v in block.items() if "bn" in k} for name, block in blocks.items()}

    for block in jax.jit(scales)(jax.random.key(0)).values():
        assert last in block
        for name, scale in block.items():
            assert np.all(np.asarray(scale) == (0.0 if zero and name == last else 1.0)), name


def test_another_stem_is_refused():
    with pytest.raises(InputError, match="stem='tiny'"):
        resnet18(stem="tiny")
