import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, start
from first_step import KEY

from kdjax.core import InputError
from kdjax.methods.siamese import mae as page
from kdjax.models import patch_decoder, vit

ENCODER, DECODER = vit(2, 8, 1, 2, None), patch_decoder(2, 1, width=8, depth=1, heads=2)


@functools.cache
def first(**options):
    case = CASES["mae"](**options)
    state = start(case)
    return case, state, *jax.jit(case.method.step)(state, case.batch, KEY)


def patches(images):
    """`[B, 16, 4]`, patches and pixels row by row."""
    return np.stack([images[:, r : r + 2, c : c + 2, 0].reshape(-1, 4) for r in range(0, 8, 2) for c in range(0, 8, 2)], 1)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_pixels_of_hidden_patches_are_made_from_the_seen_ones(normalise):
    case, state, _, _ = first(normalise=normalise)
    # At the start hardly anything of a patch comes through.
    learner = state.learner.replace(params=jax.tree.map(lambda p: 10 * p, state.learner.params))
    _, metrics = jax.jit(case.method.step)(state._replace(learner=learner), case.batch, KEY)
    images = case.batch["image"]
    places = np.asarray(page._places(jax.random.fold_in(KEY, 1), images, 2, None))
    order = places.reshape(16, 16)
    kept = np.argsort(order, 1)[:, :8]

    @jax.jit
    def pixels(params, stats):
        taps, _ = ENCODER.apply(params["encoder"], stats["encoder"], {"image": images, "kept": kept}, train=True)
        seen = {"front": taps["cls"][:, None], "seen": taps["patches"], "places": places}
        return DECODER.apply(params["decoder"], stats["decoder"], seen, train=True)[0]["pixels"]

    target = patches(np.float64(images))
    if normalise:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    error = np.mean((np.float64(pixels(learner.params, learner.stats)) - target) ** 2, -1)
    np.testing.assert_allclose(metrics["loss"], error[order >= 8].mean(), rtol=1e-4)


def test_each_image_and_step_hides_other_patches():
    images = jnp.zeros((64, 8, 8, 1))
    places = np.asarray(page._places(KEY, images, 2, None))
    assert places.shape == (64, 4, 4) and np.array_equal(np.sort(places.reshape(64, 16), 1), np.arange(16)[None].repeat(64, 0))
    assert len({row.tobytes() for row in places}) == 64
    assert not np.array_equal(places, page._places(jax.random.key(0), images, 2, None))
    hidden = (places >= 4).mean(0)  # of three quarters each patch
    assert hidden.min() > 0.5 and hidden.max() < 0.95
    assert page._count(places, 0.75) == 4 and page._count(places, 0.9) == 1


def test_a_batch_of_views_is_its_first_view():
    case, state, new, _ = first()
    batch = {"views": (case.batch["image"], 0 * case.batch["image"]), "image": 0 * case.batch["image"]}
    found, _ = jax.jit(case.method.step)(state, batch, KEY)
    close(found, new)


def test_what_is_shipped_sees_whole_images():
    case, _, new, _ = first()
    taps = case.method.predict(new, case.batch["image"])["encoder"]
    assert taps["patches"].shape == (16, 16, 8) and taps["pooled"].shape == (16, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 0}, r"^patch=0"),
        ({"patch": 3}, r"^patch=3 is not accepted: expected a divisor of the sides of images, 8 and 8"),
        ({"mask": 1.0}, r"^mask=1.0"),
        ({"mask": 0.97}, r"^mask=0.97 is not accepted: expected some of the 16 patches to be seen, and some hidden"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        case = CASES["mae"](**options)
        jax.eval_shape(case.method.init, KEY, case.batch, {})
