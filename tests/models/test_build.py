"""Specifications in plain values, and the Nets they stand for."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError

SPECIFICATION = {"name": "conv_net", "widths": [2, 3], "classes": 4, "dtype": "float32", "mean": [0.25, 0.5], "std": [0.5, 2.0]}
IMAGES = jax.random.uniform(jax.random.key(1), (3, 4, 4, 2))


def logits(net, images, key=0):
    return net.apply(*net.init(jax.random.key(key), images), images, train=False)[0]["logits"]


def test_specification_survives_json_and_gives_the_net_by_hand():
    net = models.build(json.loads(json.dumps(SPECIFICATION)))
    by_hand = (IMAGES - np.full(IMAGES.shape, [0.25, 0.5])) / np.full(IMAGES.shape, [0.5, 2.0])
    np.testing.assert_allclose(logits(net, IMAGES), logits(models.conv_net((2, 3), classes=4), by_hand), rtol=1e-5, atol=1e-6)


def test_without_mean_nothing_is_normalised():
    bare = {k: v for k, v in SPECIFICATION.items() if k not in ("mean", "std", "dtype")}
    np.testing.assert_array_equal(logits(models.build(bare), IMAGES), logits(models.conv_net((2, 3), classes=4), IMAGES))


def test_dtype_is_that_of_the_computation():
    net = models.build(SPECIFICATION | {"dtype": "bfloat16"})
    taps, _ = jax.eval_shape(lambda x: net.apply(*net.init(jax.random.key(0), x), x, train=False), IMAGES)
    assert taps["stage1"].dtype == jnp.bfloat16 and taps["logits"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "conv_nett"}, "net 'conv_nett' is not known; accepted: conv_net, "),
        ({"dtype": "float8"}, "dtype 'float8' is not known; accepted: "),
        ({"depth": 3}, "net 'conv_net': .*'depth'"),
        ({"widths": []}, "widths="),
        ({"widths": [2**20 + 1]}, "widths=1048577 is not accepted in a net: expected a number of at most 1048576"),
        ({"name": "vit", "depth": 10**6}, "depth=1000000 is not accepted in a net: expected a number of at most 2048"),
    ],
)
def test_what_is_not_known_is_refused(changed, said):
    with pytest.raises(InputError, match=said):
        models.build(SPECIFICATION | changed)


def test_remat_is_that_of_the_net_inside():
    net = models.build(SPECIFICATION | {"remat": True})
    with pytest.raises(InputError, match="remat=True is not accepted: expected a net with blocks"):
        jax.eval_shape(net.init, jax.random.key(0), IMAGES)
    blocks = {"name": "vit", "patch": 4, "width": 4, "depth": 1, "heads": 1, "classes": 4}
    shapes = [jax.eval_shape(models.build(blocks | more).init, jax.random.key(0), IMAGES) for more in ({}, {"remat": True})]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", models.CLASSIFIERS)
def test_every_classifier_takes_what_specifications_hold(name):
    assert {"classes", "dtype", "axis_name"} <= set(inspect.signature(models.CLASSIFIERS[name]).parameters)


def test_a_generator_is_built_and_takes_latents():
    specification = {"name": "generator", "size": [4, 6], "channels": 2, "features": 2, "latent": 3}
    assert models.is_generator(specification) and models.input_shape(specification, (4, 6, 2)) == (3,)
    net, z = models.build(specification), jnp.zeros((5, 3))
    made = jax.eval_shape(lambda key: net.apply(*net.init(key, z), z, train=False)[0]["image"], jax.random.key(0))
    assert made.shape == (5, 4, 6, 2)
    norm = models.build(specification | {"last": "norm", "mean": [0.25, 0.5], "std": [0.5, 2.0]})
    taps, _ = norm.apply(*norm.init(jax.random.key(0), z), z, train=True)
    np.testing.assert_allclose(taps["image"].mean((0, 1, 2)), [0.25, 0.5], atol=1e-4)
    with pytest.raises(InputError, match="net 'generator': latent=None is not accepted"):
        models.input_shape({**specification, "latent": None}, (4, 6, 2))


def test_a_conditional_generator_is_initialised_by_latents_alone():
    specification = {"name": "dcgan", "size": 8, "features": 2, "latent": 3, "classes": 4, "label": "sum"}
    net, z = models.build(specification), jnp.zeros((2, *models.input_shape(specification, (8, 8, 3))))
    x = {"latent": z, "label": jnp.array([3, 0])}
    alone, beside = (jax.eval_shape(net.init, jax.random.key(0), given) for given in (z, x))
    assert jax.tree.structure(alone) == jax.tree.structure(beside)
    made = jax.eval_shape(lambda held, x: net.apply(*held, x, train=True)[0], alone, x)
    assert made["image"].shape == (2, 8, 8, 3) and made["class_embedding"].shape == (2, 3)


@pytest.mark.parametrize(
    ("specification", "shape", "tap"),
    [
        ({"name": "fcn", "widths": [2, 3], "classes": 4, "mean": [0.5], "std": [0.5]}, (4, 4, 1), (4, 4, 4)),
        ({"name": "linear_head", "classes": 3, "input": [5]}, (5,), (3,)),
        ({"name": "mlp_head", "hidden": 4, "out": 2, "input": [5], "dtype": "bfloat16"}, (5,), (2,)),
        ({"name": "generator", "size": 6, "channels": 1, "features": 2, "latent": 5}, (5,), (6, 6, 1)),
        ({"name": "dcgan", "size": 8, "channels": 1, "features": 2, "latent": 5}, (5,), (8, 8, 1)),
        ({"name": "stylegan2", "size": 8, "channels": 1, "base": 16, "style": 4, "latent": 5}, (5,), (8, 8, 1)),
        ({"name": "critic", "widths": [2]}, (4, 4, 1), ()),
        ({"name": "dcgan_critic", "widths": [2], "norm": "spectral"}, (4, 4, 1), ()),
    ],
)
def test_other_nets_than_classifiers(specification, shape, tap):
    net, x = models.build(json.loads(json.dumps(specification))), jnp.zeros((2, *shape))
    assert models.input_shape(specification, (4, 4, 1)) == shape
    taps = jax.eval_shape(lambda x: net.apply(*net.init(jax.random.key(0), x), x, train=True)[0], x)
    kinds = {"mlp_head": "embedding", **dict.fromkeys(models.GENERATORS, "image"), **dict.fromkeys(models.CRITICS, "logit")}
    name = kinds.get(specification["name"], "logits")
    assert taps[name].shape == (2, *tap)
    with pytest.raises(InputError, match=specification["name"]):
        models.build(specification | {"sizes": 3})
