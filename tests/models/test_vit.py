"""Vision transformers: equal to timm's on the same weights, their taps, stochastic depth, and what is refused."""

import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.core import InputError, jit_fast_compile
from kdjax.models import NETS, from_pytorch, parameter_count, to_pytorch, vit, vit_base, vit_small, vit_tiny
from tests.golden.parity.make import CLASSES, TRANSFORMERS, images, kept, weight

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
DEIT = [("deit_tiny", 3), ("deit_small", 6), ("deit_base", 12)]
TOLERANCE = 2e-5  # of the largest number of a tap; float32 here, float64 there


def blank(net, shape=(1, 32, 24, 3)):
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def small(classes=5, **options):
    return vit(4, 16, 2, 2, classes, **options)


@pytest.fixture
def filled(drawn):
    """`filled(net, shape=...) -> (params, stats, images)`."""

    def fill(net, shape=(4, 8, 12, 3)):
        x = jax.random.normal(jax.random.key(1), shape)
        return *drawn(net, x), x

    return fill


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_taps_are_those_of_timm_and_weights_go_both_ways(name):
    kind, options, side = TRANSFORMERS[name]
    net = NETS[kind](**options, classes=CLASSES)
    zeros = blank(net, (1, *side, 3))
    state = {k: weight(k, x.shape) for k, x in to_pytorch(kind, *zeros).items()}
    params, stats = from_pytorch(kind, state, *zeros)
    again = to_pytorch(kind, params, stats)
    assert list(again) == list(state) and all(np.array_equal(again[k], x) for k, x in state.items())
    taps, _ = net.apply(params, stats, jnp.asarray(images(name)), train=False)
    with np.load(GOLDEN / f"{name}.npz") as golden:
        found = kept({tap: np.asarray(x) for tap, x in taps.items() if tap in golden.files})
        assert set(found) == set(golden.files) and {"tokens", "block1_value_map", "patches_map", "cls", "logits"} <= set(found)
        assert ("logits_distillation" in found) == name.startswith("deit")
        for tap, expected in golden.items():
            assert found[tap].shape == expected.shape
            assert np.abs(found[tap] - expected).max() <= TOLERANCE * np.abs(expected).max(), tap


def test_counts_known_to_the_last_digit():
    counts = [parameter_count(make(), (1, 224, 224, 3)) for make in (vit_tiny, vit_small, vit_base)]
    assert counts == [5_717_416, 22_050_664, 86_567_656]


@pytest.mark.parametrize(("name", "heads"), [("vit_tiny", 3), ("vit_small", 6), ("vit_base", 12), *DEIT])
def test_heads_of_the_sizes(name, heads, shapes):
    _, _, taps, _ = shapes(NETS[name](), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    tokens = taps["tokens"].shape[1]
    assert taps["block1_query"].shape == taps["block12_value"].shape == (1, heads, tokens, 64) and "block13" not in taps


def test_taps_are_all_there_and_behind_the_last_norm_float32(shapes):
    x = jax.ShapeDtypeStruct((2, 8, 12, 3), jnp.float32)
    params, stats, taps, _ = shapes(small(last_heads=4, dtype=jnp.bfloat16), x)
    low = {"tokens": (2, 7, 16)}
    for number, heads in ((1, 2), (2, 4)):
        low[f"block{number}"] = (2, 7, 16)
        low |= {f"block{number}_{part}": (2, heads, 7, 16 // heads) for part in ("query", "key", "value")}
    high = {"cls": (2, 16), "patches": (2, 6, 16), "pooled": (2, 16), "logits": (2, 5)}
    assert {k: (t.shape, t.dtype) for k, t in taps.items()} == {
        **{k: (s, jnp.bfloat16) for k, s in low.items()},
        **{k: (s, jnp.float32) for k, s in high.items()},
    }
    assert not stats and {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_relations_of_the_taps_are_those_of_the_block(filled):
    """The taps of the last block, put through attention and the rest of it by hand, give what leaves it."""
    net = small(last_heads=4)
    params, stats, x = filled(net)
    taps, _ = net.apply(params, stats, x, train=False)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["block2"])
    q, k, v = (np.asarray(taps[f"block2_{part}"], np.float64) for part in ("query", "key", "value"))
    scores = q @ k.swapaxes(2, 3) / np.sqrt(4)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ v
    y = np.asarray(taps["block1"], np.float64)
    y = y + mixed.swapaxes(1, 2).reshape(y.shape) @ p["proj"]["kernel"] + p["proj"]["bias"]
    z = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6) * p["norm2"]["scale"] + p["norm2"]["bias"]
    z = z @ p["fc1"]["kernel"] + p["fc1"]["bias"]
    z = z * (1 + np.vectorize(math.erf)(z / np.sqrt(2))) / 2
    np.testing.assert_allclose(taps["block2"], y + z @ p["fc2"]["kernel"] + p["fc2"]["bias"], rtol=1e-5, atol=1e-5)
    heads = tuple(taps[f"block2_{part}"] for part in ("query", "key", "value"))
    assert losses.token_relation(heads, heads).shape == (4,)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_pooled_is_what_logits_read(pool, filled):
    net = small(pool=pool)
    params, stats, x = filled(net)
    taps, _ = net.apply(params, stats, x, train=False)
    expected = taps["cls"] if pool == "cls" else np.asarray(taps["patches"]).mean(1)
    np.testing.assert_allclose(taps["pooled"], expected, rtol=1e-6, atol=1e-6)
    p = jax.tree.map(np.asarray, params["classifier"])
    by_hand = np.asarray(taps["pooled"]) @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(taps["logits"], by_hand, rtol=1e-5, atol=1e-5)


def test_sincos_positions_are_no_parameters_and_fit_any_image(filled):
    net = small(positions="sincos")
    params, stats, x = filled(net)
    assert "positions" not in params
    large, _ = net.apply(params, stats, jnp.pad(x, ((0, 0), (0, 4), (0, 0), (0, 0))), train=False)
    taps, _ = net.apply(params, stats, x, train=False)
    np.testing.assert_array_equal(large["tokens"][:, :7], taps["tokens"])  # two rows of patches, then a third
    np.testing.assert_array_equal(taps["tokens"][:, 0], np.broadcast_to(params["class_token"][0], (4, 16)))


def test_rows_do_not_see_each_other(filled):
    net = small()
    params, stats, x = filled(net)
    run = jax.jit(lambda x: net.apply(params, stats, x, train=True)[0])
    for one, other in zip(*map(jax.tree.leaves, (run(x), run(x.at[1:].multiply(-3.0)))), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-6, atol=1e-6)


def test_taps_that_nobody_reads_cost_nothing(filled):
    net = small()
    params, stats, x = filled(net)

    def text(tap):
        return jax.jit(lambda p, x: net.apply(p, stats, x, train=False)[0][tap]).lower(params, x).compile().as_text()

    assert len(re.findall(r"exponential", text("logits"))) >= 2  # a softmax a block
    assert "exponential" not in text("block1_query")


def drop_path_net(axis_name=None):
    return vit(4, 16, 3, 2, 5, drop_path=0.6, axis_name=axis_name)


def test_drop_path_leaves_out_whole_branches_of_rows_more_often_further_on(filled):
    net = drop_path_net()
    params, stats, x = filled(net, (256, 4, 4, 1))
    run = jax.jit(lambda key: net.apply(params, stats, x, train=True, key=key)[0])
    taps, full = run(jax.random.key(0)), net.apply(params, stats, x, train=False)[0]
    np.testing.assert_allclose(taps["block1"], full["block1"], rtol=1e-5, atol=1e-5)  # chances are 0, 0.3, 0.6
    for number, chance in ((2, 0.3), (3, 0.6)):
        same = np.all(np.asarray(taps[f"block{number}"] == taps[f"block{number - 1}"]), (1, 2))
        assert abs(same.mean() - chance**2) < 4 * math.sqrt(chance**2 * (1 - chance**2) / 256)  # both branches of a row
    again, other = run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(again["logits"], taps["logits"])
    assert not np.array_equal(other["logits"], taps["logits"])


def test_drop_path_keeps_the_mean(filled):
    """A row's branch counts 1 / (1 - chance) where it is kept: over many rows the first branch adds what it does without."""
    net = vit(4, 16, 2, 2, 5, drop_path=0.5)
    params, stats, x = filled(net, (1, 4, 4, 1))
    params["block2"]["fc2"] = jax.tree.map(jnp.zeros_like, params["block2"]["fc2"])  # attention alone
    x = jnp.tile(x, (2000, 1, 1, 1))
    taps, _ = jax.jit(lambda key: net.apply(params, stats, x, train=True, key=key))(jax.random.key(0))
    full, _ = net.apply(params, stats, x[:1], train=False)
    added, expected = taps["block2"] - taps["block1"], full["block2"] - full["block1"]
    kept_rows = np.asarray(jnp.any(added != 0, (1, 2)))
    np.testing.assert_allclose(added[kept_rows], np.broadcast_to(2 * expected, added[kept_rows].shape), rtol=1e-4, atol=1e-4)
    assert abs(kept_rows.mean() - 0.5) < 0.05


def test_drop_path_draws_alike_on_one_device_and_on_two(filled):
    params, stats, x = filled(drop_path_net())
    key = jax.random.key(3)
    whole, _ = drop_path_net().apply(params, stats, x, train=True, key=key)
    split = drop_path_net("data")
    halves = jax.vmap(lambda x: split.apply(params, stats, x, train=True, key=key)[0], axis_name="data")(
        x.reshape(2, 2, *x.shape[1:])
    )
    np.testing.assert_allclose(halves["logits"].reshape(4, 5), whole["logits"], rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near_float32_and_trains(filled):
    params, stats, x = filled(small())
    # The scale at which the weights start: of He's, sixteen channels are all rounding.
    params = jax.tree.map(lambda p: 0.3 * p, params)

    def run(net):
        def loss(p):
            taps, _ = net.apply(p, stats, x, train=True)
            return jnp.mean(jnp.square(taps["logits"])), taps["logits"]

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    ((_, exact), _), ((_, near), gradients) = run(small()), run(small(dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    assert 0 < float(jnp.abs(near - exact).mean()) < 0.1 * float(exact.std())


def test_starts_as_the_authors_say():
    params, _ = jit_fast_compile(vit(4, 64, 1, 2, 50).init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name == "embed/kernel":
            assert 0.9 / math.sqrt(48) < np.abs(x).max() <= 1 / math.sqrt(48)
        elif name.endswith("scale") or name.endswith("bias"):
            assert np.all(np.asarray(x) == name.endswith("scale")), name
        else:
            assert abs(float(x.std()) / 0.02 - 1) < 4 / math.sqrt(2 * x.size), name


def test_an_encoder_takes_all_but_the_linear_layers():
    for options in ({}, {"distillation": True}):
        whole = blank(small(**options))
        state = {k: weight(k, x.shape) for k, x in to_pytorch("vit", *whole).items()}
        params, _ = from_pytorch("vit", state, *blank(small(0, **options)))
        assert not [name for name in params if name.startswith("classifier")]
        np.testing.assert_array_equal(params["class_token"], state["cls_token"])


def test_a_file_of_another_transformer_is_one_line():
    def refusal(net, state):
        with pytest.raises(InputError) as info:
            from_pytorch("vit", state, *blank(net))
        assert "\n" not in str(info.value)
        return str(info.value)

    plain, distilled = (to_pytorch("vit", *blank(small(distillation=d))) for d in (False, True))
    positions = "pos_embed is (1, 50, 16) in the file, vit has (1, 49, 16) (params/positions)"
    assert refusal(small(), distilled) == f"{positions}; a net with a distillation token has such a one"
    assert refusal(small(distillation=True), plain).startswith("dist_token is not in the file, vit has it (1, 1, 16)")
    other = to_pytorch("vit", *blank(small(), (1, 32, 32, 3)))
    assert (
        refusal(small(), other)
        == "pos_embed is (1, 65, 16) in the file, vit has (1, 49, 16) (params/positions); resize=true fits it to these images"
    )
    deeper = to_pytorch("vit", *blank(vit(4, 16, 3, 2, 5)))
    assert refusal(small(), deeper) == "'blocks.2.norm1.weight' is (16,) in the file, vit has none; 11 more"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"patch": 0}, "patch=0"),
        ({"width": 10}, "width=10 is not accepted: expected a multiple of heads=4"),
        ({"depth": 0}, "depth=0"),
        ({"heads": -4}, "heads=-4"),
        ({"last_heads": 5}, "last_heads=5 is not accepted: expected a divisor of width=16, or 0"),
        ({"positions": "rotary"}, "positions='rotary'"),
        ({"pool": "max"}, "pool='max'"),
        ({"drop_path": 1.0}, "drop_path=1.0"),
        ({"width": 18, "heads": 2, "positions": "sincos"}, "width=18 is not accepted: expected a multiple of 4"),
    ],
)
def test_strange_options_are_refused(options, line):
    with pytest.raises(InputError, match=re.escape(line)):
        vit(**({"patch": 4, "width": 16, "depth": 2, "heads": 4} | options))


def test_images_that_do_not_fit_are_refused(filled):
    net = small()
    params, stats, x = filled(net)
    with pytest.raises(InputError, match="images of 8x13 pixels are not filled by patches of 4x4"):
        net.init(jax.random.key(0), jnp.zeros((1, 8, 13, 3)))
    with pytest.raises(InputError, match=r"positions are \(1, 7, 16\), these images need \(1, 5, 16\): resize_positions"):
        net.apply(params, stats, x[:, :, :8], train=False)
    with pytest.raises(InputError, match="drop_path above 0 draws in training"):
        small(drop_path=0.1).apply(params, stats, x, train=True)


@pytest.mark.parametrize("options", [{"positions": "sincos"}, {"distillation": True, "pool": "mean"}])
def test_some_patches_alone(filled, options):
    """All of them in another order give the same; hidden ones reach nothing."""
    params, stats, x = filled(small(**options))  # six patches
    see = jax.jit(lambda image, kept: small(**options).apply(params, stats, {"image": image, "kept": kept}, train=False)[0])
    whole, _ = small(**options).apply(params, stats, x, train=False)
    order = jnp.array([[3, 1, 5, 0, 2, 4]] * 4)
    every = see(x, order)
    np.testing.assert_allclose(every["patches"], whole["patches"][:, order[0]], atol=1e-5)
    np.testing.assert_allclose(every["logits"], whole["logits"], atol=1e-5)
    few = see(x, order[:, :2])  # that below the first, and that beside it
    assert few["patches"].shape == (4, 2, 16) and few["block1"].shape[1] == 3 + ("distillation" in few)
    assert not np.allclose(few["pooled"], whole["pooled"], atol=1e-3)
    changed = see(x.at[:, :4, :4].set(9.0).at[:, 4:, 4:].set(-9.0), order[:, :2])
    np.testing.assert_array_equal(changed["patches"], few["patches"])
