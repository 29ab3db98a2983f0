"""The net whose features images are judged in: read from a file, asked a few images at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.inception import in_blocks, read_inception
from tests.golden.parity.make import images, weight
from tests.torch_file import torch_file


def state_dict():
    shapes = jax.eval_shape(models.inception().init, jax.random.key(0), jnp.zeros((1, 75, 75, 3)))
    theirs = models.to_pytorch("inception", *jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    return {name: weight(name, x.shape) for name, x in theirs.items()}


def test_the_file_of_pytorch_fid_is_read(tmp_path, golden):
    file = tmp_path / "inception.pth"
    file.write_bytes(torch_file(state_dict()))
    judge = read_inception(str(file))
    found = judge.features(images("inception")[:1])
    expected = golden("parity/inception")["pooled"][:1]
    assert np.abs(found - expected).max() <= 2e-5 * expected.max() and len(judge.sha256) == 64


def test_without_a_file_there_is_none():
    assert read_inception("") is None


def test_a_file_of_another_net_is_one_line(tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes(torch_file({"conv1.weight": np.ones((4, 3, 3, 3), np.float32)}))
    with pytest.raises(InputError, match=r"^--config.inception=.*other.pth is not accepted: Conv2d_1a_3x3.conv.weight is not in"):
        read_inception(str(file))
    file.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"^--config.inception=.*web page.*; expected the Inception v3 of FID"):
        read_inception(str(file))


def test_blocks_give_what_all_at_once_would():
    net, x = models.conv_net((3,), 0), np.random.default_rng(0).random((7, 4, 4, 1), np.float32)
    params, stats = net.init(jax.random.key(0), x)
    found = in_blocks(net, params, stats, block=3)(x)
    np.testing.assert_allclose(found, net.apply(params, stats, x, train=False)[0]["pooled"], rtol=1e-5)
    assert found.shape == (7, 3)
