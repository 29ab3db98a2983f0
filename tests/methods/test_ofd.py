import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted
from tiny_nets import images

from kdjax import methods, models
from kdjax.core import InputError
from kdjax.methods.offline.ofd import norm_in_front, ofd_objective

RNG = np.random.default_rng(0)


def test_golden_through_the_connectors(golden):
    g = golden("mdistiller/ofd_full")
    params = {f"conv{k}": {"kernel": g[f"w_connector{k}_kernel"]} for k in range(2)}
    params |= {f"bn{k}": {"scale": g[f"w_connector{k}_bn_scale"], "bias": g[f"w_connector{k}_bn_bias"]} for k in range(2)}
    stats = {
        "batch_stats": {f"bn{k}": {"mean": 0 * x["scale"], "var": x["scale"]} for k, x in ((k, params[f"bn{k}"]) for k in range(2))}
    }
    norms = {f"stage{k + 1}_bn": {"scale": g[f"teacher_bn_scale{k}"], "bias": g[f"teacher_bn_bias{k}"]} for k in range(2)}

    def taps(maps):
        return {f"stage{k + 1}{what}": x for k, x in enumerate(maps) for what in ("", "_preact")}

    @jax.jit
    @jax.value_and_grad
    def term(student):
        return unweighted(ofd_objective(), look(taps(student), taps([g["f_t0"], g["f_t1"]]), norms), params, stats)

    value, slopes = term([g["f_s0"], g["f_s1"]])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for k, slope in enumerate(slopes):
        np.testing.assert_allclose(slope, g[f"grad_f_s{k}"], rtol=0, atol=1e-4 * np.abs(g[f"grad_f_s{k}"]).max())


def test_a_student_below_the_margin_of_an_idle_teacher_is_left_alone():
    idle = {"stage1": jnp.zeros((2, 4, 4, 3)), "stage1_preact": -jnp.ones((2, 4, 4, 3))}
    norm = {"stage1_bn": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}  # margin -0.8
    low, high = ({"0": jnp.full((2, 4, 4, 3), x)} for x in (-0.9, 0.0))
    terms = ofd_objective().terms
    assert jnp.all(terms(look(idle, idle, norm), low)["overhaul"] == 0)
    np.testing.assert_allclose(terms(look(idle, idle, norm), high)["overhaul"], 48 * 2 / np.pi, rtol=1e-5)


NETS = {
    "conv_net": (models.conv_net((3, 4), 5), {"stage1": "stage1_bn", "stage2": "stage2_bn"}),
    "wrn": (models.wrn(10, 1, 5), {"stage1": "stage2_block1/bn1", "stage2": "stage3_block1/bn1", "stage3": "bn"}),
    "resnet14": (models.resnet14(5), {"stage1": "stage1_block2/bn2", "stage3": "stage3_block2/bn2"}),
    "resnet110": (models.resnet110(5), {"stage2": "stage2_block18/bn2"}),
    "resnet50": (models.resnet50(5), {"stage3": "stage3_block6/bn3"}),
    "vgg8": (models.vgg8(5), {"stage1": "stage1_bn1", "stage4": "stage4_bn1"}),
    "vgg19": (models.vgg19(5), {"stage4": "stage4_bn4"}),
}


@pytest.mark.parametrize("name", NETS)
def test_the_batch_norm_in_front_of_an_activation(name):
    net, wanted = NETS[name]
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert {stage: norm_in_front(params, stage) for stage in wanted} == wanted


@pytest.mark.parametrize("name", ["conv_net", "wrn"])
def test_it_gives_the_map_before_the_activation(name):
    net, paths = NETS[name]
    params, stats = net.init(jax.random.key(0), images())
    params = jax.tree.map(lambda x: x + jnp.asarray(RNG.uniform(size=x.shape), x.dtype), params)
    taps, _ = net.apply(params, stats, images(), train=False)
    for stage, path in paths.items():
        node = params
        for part in path.split("/"):
            node = node[part]
        scale, bias = (node[k].reshape(1, 1, 1, -1) for k in ("scale", "bias"))
        np.testing.assert_allclose(
            taps[f"norm/{path}"] / np.sqrt(1 + 1e-5) * scale + bias, taps[f"{stage}_preact"], rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("name", ["mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2"])
def test_teachers_without_one_are_refused(name):
    params, _ = jax.eval_shape(models.NETS[name](5).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(
        InputError, match=r"in front of the teacher's stage1_preact is not known: give its path in the option norms"
    ):
        norm_in_front(params, "stage1")


def test_paths_may_be_given():
    taps = {"stage1": jnp.zeros((2, 2, 2, 3)), "stage1_preact": jnp.ones((2, 2, 2, 3))}
    seen = look(taps, taps, {"a": {"b": {"scale": jnp.ones(3), "bias": jnp.ones(3)}}})
    adapted = {"0": taps["stage1"]}
    assert jnp.all(ofd_objective(norms=("a/b",)).terms(seen, adapted)["overhaul"] == 12)
    with pytest.raises(InputError, match="norms='a/c' is not accepted: the teacher has no such batch norm"):
        ofd_objective(norms=("a/c",)).terms(seen, adapted)
    with pytest.raises(InputError, match="expected one for each of 1 layers"):
        ofd_objective(norms=("a/b", "a/b")).terms(seen, adapted)


def test_the_defaults_are_the_authors():
    assert defaults(methods.ofd) == {"label_weight": 1.0, "weight": 1e-3, "layers": (), "norms": ()}
