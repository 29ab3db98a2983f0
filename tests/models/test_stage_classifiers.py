import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, batch_norms
from kdjax.models import branched, branches, bridge, build, exits

CONV = {"name": "conv_net", "widths": [3, 4, 5]}


def images(side, channels=3):
    return jax.ShapeDtypeStruct((2, side, side, channels), jnp.float32)


def kernels_of(params, branch):
    """Shapes of the convolutions of one branch, by layer."""
    flat = jax.tree_util.tree_leaves_with_path(params["heads"])
    named = {"/".join(k.key for k in path): x.shape for path, x in flat}
    return {k: v for k, v in named.items() if k.startswith(f"branch{branch}_") and k.endswith("kernel")}


@pytest.mark.parametrize(
    ("net", "side", "stages"),
    [(CONV, 8, 3), ({"name": "resnet8"}, 32, 3), ({"name": "wrn", "depth": 10, "width": 2}, 32, 3),
     ({"name": "resnet18", "stem": "cifar"}, 16, 4), ({"name": "resnet50"}, 64, 4), ({"name": "vgg8"}, 64, 5),
     ({"name": "mobilenet_v2"}, 64, 4), ({"name": "shufflenet_v1"}, 16, 3)],
)  # fmt: skip
def test_taps_of_backbone_and_branches(net, side, stages, shapes):
    params, stats, taps, new = shapes(branched(net, 7), images(side))
    alone = shapes(build({**net, "classes": 7}), images(side))
    assert jax.tree.structure((params["net"], stats["net"])) == jax.tree.structure(alone[:2])
    names = [f"joint{k}" for k in range(1, stages + 1)]
    assert [k for k in taps if k.startswith("joint")] == names
    assert {taps[k].shape for k in names} == {(2, 28)} and taps["logits"].shape == (2, 7)
    plain = {k for k in alone[2] if not k.startswith("norm/")}
    assert {k for k in taps if not k.startswith("norm/")} == plain | set(names)
    assert len(batch_norms(taps, stats)) == len(jax.tree.leaves(stats)) // 2
    assert jax.tree.structure(new) == jax.tree.structure(stats)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet20", 762_992), ("resnet8x4", 3_557_296), ("vgg8", 16_833_984), ("vgg13", 37_049_664),
     ("mobilenet_v2_half", 4_671_496), ("shufflenet_v1", 3_118_740), ("shufflenet_v2", 4_519_988)],
)  # fmt: skip
def test_parameter_counts_are_those_of_the_authors_code(name, count):
    """Of the branches alone, at 100 classes and 32x32 pixels, counted in github.com/winycg/HSAKD at 28c8dc2."""
    params, _ = jax.eval_shape(branched({"name": name}, 100).init, jax.random.key(0), images(32))
    assert sum(x.size for x in jax.tree.leaves(params["heads"])) == count


@pytest.mark.parametrize(
    ("name", "sides"),
    [("vgg8", {1: [16, 8, 4, 4], 2: [8, 4, 4], 3: [4, 4], 4: [4, 4]}), ("shufflenet_v2", {1: [8, 4], 2: [4], 3: [4]}),
     ("shufflenet_v1", {1: [8, 4], 2: [4], 3: [4]}), ("mobilenet_v2_half", {1: [8, 4, 2], 2: [4, 2], 3: [2], 4: [2]})],
)  # fmt: skip
def test_maps_shrink_as_in_the_backbone(name, sides, shapes):
    """The last norm of every stage of every branch; VGG's last two stages, with no pool between them, are of one size."""
    *_, taps, _ = shapes(branched({"name": name}, 5), images(32))
    found = {}
    for key, x in taps.items():
        if key.startswith("norm/heads/") and "_stage" in key:
            branch, stage, _ = key.removeprefix("norm/heads/branch").split("_", 2)
            found.setdefault(int(branch), {})[stage] = x.shape[1]
    assert {branch: [stages[k] for k in sorted(stages)] for branch, stages in found.items()} == sides


def test_a_branch_is_a_copy_of_the_stages_that_follow(shapes):
    """WRN-16-2: widths 32, 64, 128 of 2 blocks; the last branch has one more stage like the last."""
    params, *_ = shapes(branched({"name": "wrn_16_2"}, 5), images(32))
    backbone, conv = params["net"], (3, 3)
    for stage in (2, 3):
        for block in (1, 2):
            copy, original = params["heads"][f"branch1_stage{stage}_block{block}"], backbone[f"stage{stage}_block{block}"]
            assert jax.tree.map(jnp.shape, copy) == jax.tree.map(jnp.shape, original)
    found = kernels_of(params, 2)
    assert {k.split("/")[0] for k in found} == {"branch2_stage3_block1", "branch2_stage3_block2", "branch2_classifier"}
    last = kernels_of(params, 3)
    assert last.pop("branch3_classifier/kernel") == (128, 20)
    assert set(last.values()) == {(*conv, 128, 128)} and len(last) == 4  # no shortcut: channels and side stay


def test_strides_are_those_of_the_stages():
    """Sides 8, 4, 2: branch 1 halves twice, branch 2 once, the last one not at all."""
    net = branches(CONV | {"classes": 2})
    taps = {f"stage{k}": jnp.ones((1, side, side, 3 + k)) for k, side in ((1, 8), (2, 4), (3, 2))}
    params, stats = net.init(jax.random.key(0), taps)
    outputs, _ = net.apply(params, stats, taps, train=False)
    sides = {name.removeprefix("norm/"): x.shape[1] for name, x in outputs.items() if name.startswith("norm/")}
    assert sides == {
        "branch1_stage2_block1/bn": 4, "branch1_stage3_block1/bn": 2, "branch2_stage3_block1/bn": 2, "branch3_stage3_block1/bn": 2,
    }  # fmt: skip


def test_wide_nets_end_with_batch_norm(shapes):
    params, *_ = shapes(branched({"name": "wrn", "depth": 10, "width": 1}, 3), images(8))
    assert {f"branch{k}_bn" for k in (1, 2, 3)} <= set(params["heads"])


def test_two_halves_are_the_whole(drawn):
    x = jax.random.uniform(jax.random.key(1), (8, 4, 4, 1))
    whole, split = (branched(CONV, 2, axis_name=name) for name in (None, "data"))
    params, stats = drawn(whole, x)
    taps, _ = jax.jit(lambda x: whole.apply(params, stats, x, train=True))(x)
    halves, _ = jax.jit(jax.vmap(lambda x: split.apply(params, stats, x, train=True), axis_name="data"))(
        x.reshape(2, 4, *x.shape[1:])
    )
    np.testing.assert_allclose(halves["joint3"].reshape(8, -1), taps["joint3"], atol=1e-4)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ({"name": "vit_tiny", "classes": 3}, "net 'vit_tiny' has no branches; accepted: "),
        ({"name": "conv_net", "classes": 0}, "classes=0 is not accepted"),
    ],
)
def test_refusals(net, said):
    with pytest.raises(InputError, match=said):
        branches(net)


def test_exits_lie_behind_all_stages_but_the_last(shapes):
    """They are the branches there, with a logit a class; the pooled features and the map before them are told too."""
    *_, backbone, _ = shapes(build(CONV | {"classes": 7}), images(8))
    taps = {name: jnp.zeros(tap.shape) for name, tap in backbone.items()}
    found = jax.eval_shape(lambda: exits(CONV | {"classes": 7}).init(jax.random.key(0), taps))
    joint = jax.eval_shape(lambda: branches(CONV | {"classes": 7}).init(jax.random.key(0), taps))
    kept = {name for name in joint[0] if not name.startswith("branch3_")}
    assert set(found[0]) == kept
    params, stats = found
    out, _ = jax.eval_shape(lambda p, s: exits(CONV | {"classes": 7}).apply(p, s, taps, train=True), params, stats)
    out = {name: tap.shape for name, tap in out.items() if not name.startswith("norm/")}
    ends = {"": (2, 7), "_pooled": (2, 5), "_map": taps["stage3"].shape}
    assert out == {f"exit{k}{end}": shape for k in (1, 2) for end, shape in ends.items()}


def test_a_net_of_one_stage_has_no_exits():
    with pytest.raises(InputError, match="of which this net has 1: expected 2 or more stages"):
        exits({"name": "conv_net", "classes": 2}).init(jax.random.key(0), {"stage1": jnp.ones((1, 4, 4, 2))})
    with pytest.raises(InputError, match="net 'vit' has no branches"):
        exits({"name": "vit", "classes": 2})


@pytest.mark.parametrize(
    ("net", "last"),
    [(CONV, ("stage3_",)), ({"name": "wrn_16_2"}, ("stage3_", "bn")), ({"name": "resnet18", "stem": "cifar"}, ("stage4_",))],
)
def test_a_bridge_is_the_last_stage_once_more(net, last, shapes):
    """With the classifier, and in a wide net the norm in front of it, it has as many parameters as these have in the net."""
    plain, _, taps, _ = shapes(build({**net, "classes": 7}), images(16))
    own, stats, found, _ = shapes(bridge({**net, "classes": 7}), taps)
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
    ends = {name: part for name, part in plain.items() if name.startswith((*last, "classifier"))}
    assert count(own) == count(ends) and jax.tree.leaves(stats)
    assert found["logits"].shape == (2, 7) and found["pooled"].shape == taps["pooled"].shape


def test_a_net_of_one_stage_has_no_bridge():
    with pytest.raises(InputError, match="bridges lie behind the stages but the last, of which this net has 1: expected 2 or more"):
        bridge({"name": "conv_net", "classes": 2}).init(jax.random.key(0), {"stage1": jnp.ones((1, 4, 4, 2))})


RESNET = {"name": "resnet18", "stem": "cifar", "classes": 100}


def exits_of(net, side, **options):
    """Parameters and taps of the exits, by shape."""
    images_ = images(side)
    backbone = build(net)
    taps = jax.eval_shape(lambda x: backbone.apply(*backbone.init(jax.random.key(0), x), x, train=False)[0], images_)
    heads = exits(net, **options)
    params, stats = jax.eval_shape(lambda t: heads.init(jax.random.key(0), t), taps)
    return params, jax.eval_shape(lambda p, s, t: heads.apply(p, s, t, train=True)[0], params, stats, taps)


@pytest.mark.parametrize(
    ("heads", "count"),
    [("bottleneck", 1_791_020), ("separable", 1_062_316)],
)
def test_small_heads_are_those_of_the_code_of_be_your_own_teacher(heads, count):
    """Of three exits of a ResNet-18 at 100 classes, layer by layer: `branchBottleNeck`, and gates, `SepConv`s and classifiers."""
    params, taps = exits_of(RESNET, 32, heads=heads)
    assert sum(x.size for x in jax.tree.leaves(params)) == count
    assert {taps[f"exit{k}_map"].shape for k in (1, 2, 3)} == {(2, 4, 4, 512)}
    assert {taps[f"exit{k}_pooled"].shape for k in (1, 2, 3)} == {(2, 512)}


def test_exits_behind_chosen_stages_copy_so_many_blocks():
    """As Self-KD-Lib has them for DKS: behind stages 2 and 3, one block of stage 3 and two of stage 4."""
    params, taps = exits_of(RESNET, 16, stages=("stage2", "stage3"), blocks=(2, 1, 2))
    blocks = {name.split("_bn")[0] for name in params if "block" in name}
    wanted = {"branch2_stage3_block1", "branch2_stage4_block1", "branch2_stage4_block2"}
    assert blocks == wanted | {"branch3_stage4_block1", "branch3_stage4_block2"}
    assert [name for name in taps if name in ("exit1", "exit2", "exit3")] == ["exit1", "exit2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stages": ("stage4",)}, r"no exit lies behind stage4; accepted: stage1, stage2(\n|$)"),
        ({"stages": ("stage3",)}, r"no exit lies behind stage3; accepted: stage1, stage2(\n|$)"),
        ({"blocks": (1,)}, r"^blocks=\(1,\) is not accepted: expected \(\) or 2 numbers"),
        ({"blocks": (0, 1)}, r"^blocks=\(0, 1\) is not accepted"),
        ({"blocks": (1, 9)}, r"^blocks=\(1, 9\) is not accepted: expected at most the 1 of stage3"),
        ({"heads": "linear"}, r"^heads='linear' is not accepted"),
    ],
)
def test_exits_that_are_not_there_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        exits_of(CONV | {"classes": 2}, 8, **options)
