"""Layers and nets that stand in front of a loss in the reference files, and pooling in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv(x, kernel, bias=None, stride=1, padding=0):
    pad = ((padding, padding), (padding, padding))
    x = lax.conv_general_dilated(x, kernel, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return x if bias is None else x + bias.reshape(1, 1, 1, -1)


def batch_norm(x, scale, bias):
    mean = jnp.mean(x, axis=(0, 1, 2), keepdims=True)
    variance = jnp.mean((x - mean) ** 2, axis=(0, 1, 2), keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)


def small_net(g, who, x):
    """The network of the reference files: logits, pooled features, and (input, mean, variance) of each batch norm."""
    norms = []
    for layer, stride in (("1", 1), ("2", 2)):
        kernel = g[f"w_{who}_conv{layer}_kernel"]
        x = conv(x, kernel, None, stride, 1)
        scale, bias, mean, variance = (g[f"w_{who}_bn{layer}_{part}"] for part in ("scale", "bias", "mean", "var"))
        norms.append((x, mean, variance))
        row = (1, 1, 1, -1)
        x = (x - mean.reshape(row)) / np.sqrt(variance + 1e-5).reshape(row) * scale.reshape(row) + bias.reshape(row)
        x = jax.nn.relu(x)
    pooled = jnp.mean(x, axis=(1, 2))
    return pooled @ g[f"w_{who}_fc_kernel"] + g[f"w_{who}_fc_bias"].reshape(1, -1), pooled, norms


def nearest(x, height, width):
    rows, columns = (np.arange(n) * m // n for n, m in ((height, x.shape[1]), (width, x.shape[2])))
    return x[:, rows][:, :, columns]


def pooled(x, height, width):
    """Adaptive average pooling of `[B, H, W, C]`, bin by bin."""
    x = np.float64(x)
    rows, columns = x.shape[1:3]
    out = np.empty((len(x), height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            top, bottom = i * rows // height, int(np.ceil((i + 1) * rows / height))
            left, right = j * columns // width, int(np.ceil((j + 1) * columns / width))
            out[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return out
