import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(14)
A, B = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32), RNG.normal(size=(2, 4, 3, 5)).astype(np.float32)
PLACES = RNG.uniform(-0.2, 1.2, size=(2, 3, 4, 2)).astype(np.float32)
GRID = np.stack(np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(3) + 0.5) / 3), -1)[None].repeat(2, 0).astype(np.float32)


def sampled(image, x, y):
    """Bilinearly between the middles of cells, of which that of the border goes on outwards."""
    height, width = image.shape[:2]
    u, v = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    left, top = min(int(u), width - 2), min(int(v), height - 2)
    du, dv = u - left, v - top
    rows = [image[top + i, left] * (1 - du) + image[top + i, left + 1] * du for i in (0, 1)]
    return rows[0] * (1 - dv) + rows[1] * dv


def local(online, target, places, temperature=0.1):
    """Image by image, point by point."""
    found = []
    for m, t, where in zip(np.float64(online), np.float64(target), places, strict=True):
        points = [(r, c) for r, c in np.ndindex(m.shape[:2]) if np.all((where[r, c] >= 0) & (where[r, c] <= 1))]
        a = np.stack([m[p] for p in points]) if points else np.zeros((0, 1))
        b = np.stack([sampled(t, *where[p]) for p in points]) if points else a
        scores = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T / temperature
        found.append(np.mean(np.log(np.exp(scores).sum(1)) - np.diag(scores)) if len(points) > 1 else 0.0)
    return np.array(found)


@pytest.mark.parametrize("places", [PLACES, GRID, GRID[:, :, ::-1].copy()])
def test_oracle(places):
    inside = np.all((places >= 0) & (places <= 1), -1).sum((1, 2))
    assert np.all(inside > 2)
    loss = value_and_grad(lambda m, t: jnp.sum(losses.local_contrast(m, t, places)), argnums=(0, 1))
    value, gradients = loss(A, B)
    same_value(value, local(A, B, places).sum())
    same_gradient(gradients[0], differences(lambda m: local(m, B, places).sum(), A))
    assert not gradients[1].any()
    same_value(losses.local_contrast(A, B, places, temperature=0.5), local(A, B, places, 0.5))


def test_the_same_grid_compares_the_cells_themselves_and_a_mirrored_one_the_columns_backwards():
    other = RNG.normal(size=A.shape).astype(np.float32)
    whole = losses.local_contrast(A, other, GRID)
    cells = losses.info_nce(A[0].reshape(12, 5), other[0].reshape(12, 5), temperature=0.1)
    same_value(whole[0], np.float64(jnp.mean(cells)))
    same_value(losses.local_contrast(A, other[:, :, ::-1], GRID[:, :, ::-1]), np.float64(whole))


def test_images_with_less_than_two_places_count_nothing():
    outside = np.full_like(PLACES, 1.5)
    outside[0, 1, 2] = 0.5
    value, gradient = value_and_grad(lambda m: jnp.sum(losses.local_contrast(m, B, outside)))(A)
    assert value == 0 and not gradient.any()
    outside[0, 0, 1] = 0.3
    value, gradient = value_and_grad(lambda m: jnp.sum(losses.local_contrast(m, B, outside)))(A)
    same_value(value, local(A, B, outside).sum())
    seen = np.any(gradient, -1)
    assert seen[0, 1, 2] and seen[0, 0, 1] and seen.sum() == 2


def test_what_lies_outside_reaches_nothing():
    spoiled = np.where(np.all((PLACES >= 0) & (PLACES <= 1), -1)[..., None], A, 1e6)
    same_value(losses.local_contrast(spoiled, B, PLACES), np.float64(losses.local_contrast(A, B, PLACES)))


def test_zero_and_extreme_maps():
    loss = value_and_grad(lambda m: jnp.sum(losses.local_contrast(m, B, GRID)))
    value, gradient = loss(np.zeros_like(A))
    same_value(value, 2 * np.log(12))
    assert not gradient.any()
    expected = np.float64(loss(A)[0])
    for scale in (1e-8, 1e4, 1e25):
        value, gradient = loss(A * np.float32(scale))
        same_value(value, expected)
        assert jnp.all(jnp.isfinite(gradient))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda m, t: losses.local_contrast(m, t, GRID), A, B)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.local_contrast(A, B[..., :3], PLACES), ["target", "(2, 4, 3, 3)", "online"]),
        (lambda: losses.local_contrast(A, B, PLACES[:, :2]), ["places", "(2, 2, 4, 2)"]),
        (lambda: losses.local_contrast(A, B, np.zeros((2, 3, 4, 3))), ["places", "(2, 3, 4, 3)"]),
        (lambda: losses.local_contrast(A[0], B, PLACES), ["online", "(3, 4, 5)", "[B, H, W, D]"]),
        (lambda: losses.local_contrast(A, B, PLACES, temperature=0), ["temperature=0"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
