import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, start
from first_step import KEY, NETS, first_step, log_softmax, unit
from tiny_nets import images

from kdjax.augment import Geometry
from kdjax.core import InputError
from kdjax.methods.siamese import relicv2 as page


def log_p(rows, columns):
    """Over all images, their own first."""
    scores = unit(rows) @ unit(columns).T / 0.3
    return log_softmax(np.stack([np.roll(row, -i) for i, row in enumerate(scores)]))


def divergence(log_p, log_q):
    return np.mean(np.sum(np.exp(log_p) * (log_p - log_q), -1))


def test_two_large_views_among_all_images():
    step = first_step("relicv2", negatives=0)
    q, z = ([taps["embedding"] for taps in side] for side in (step.online, step.target))
    one, two = log_p(q[0], z[1]), log_p(q[1], z[0])
    # `log_p` has the others of row i from i + 1 on in both, so that equal places are equal images.
    np.testing.assert_allclose(step.metrics["contrast"], -np.mean([one[:, 0], two[:, 0]]), rtol=1e-4)
    np.testing.assert_allclose(step.metrics["invariance"], (divergence(one, two) + divergence(two, one)) / 2, rtol=1e-3)
    whole = step.metrics["contrast"] + step.metrics["invariance"]
    np.testing.assert_allclose(step.metrics["loss"], whole, rtol=1e-5)


def test_small_views_find_each_large_one_and_are_found_by_none():
    case = CASES["relicv2"](negatives=0)
    state, small = start(case), images(2)[:, :4, :4]
    _, metrics = jax.jit(case.method.step)(state, case.batch | {"views": (*case.batch["views"], small)}, KEY)
    large = first_step("relicv2", negatives=0)
    q, z = ([taps["embedding"] for taps in side] for side in (large.online, large.target))
    taps = _of_small(state, small)
    pairs = [log_p(taps, z[0]), log_p(taps, z[1])]
    contrast = [log_p(q[0], z[1]), log_p(q[1], z[0]), *pairs]
    np.testing.assert_allclose(metrics["contrast"], -np.mean([p[:, 0] for p in contrast]), rtol=1e-4)
    columns = [divergence(p, log_p(view, taps)) for p, view in zip(pairs, z, strict=True)]
    both = [divergence(contrast[0], contrast[1]), divergence(contrast[1], contrast[0])]
    np.testing.assert_allclose(metrics["invariance"], np.mean([*both, *columns]), rtol=1e-3)


def _of_small(state, x):
    for name, tap in (("encoder", "pooled"), ("projector", "embedding"), ("predictor", "embedding")):
        taps, _ = NETS[name].apply(state.online.params[name], state.online.stats[name], x, train=True)
        x = taps[tap]
    return np.float64(x)


def test_negatives_are_a_few_others_each_once():
    found = np.asarray(page._others(KEY, 16, 5, None))
    assert found.shape == (16, 5) and found.min() >= 0 and found.max() <= 15
    assert all(len({*row, own}) == 6 for own, row in enumerate(found.tolist()))
    counts = np.bincount(np.concatenate([np.ravel(page._others(jax.random.key(k), 16, 5, None)) for k in range(40)]), minlength=16)
    assert counts.min() > 140 and counts.max() < 260  # 200 on average
    assert page._others(KEY, 16, 0, None) is None


def with_mask(case, mask):
    """The same view twice: whole, and mirrored."""
    images = case.batch["views"][0]
    rows = len(images)
    still = Geometry(jnp.broadcast_to(jnp.eye(2), (rows, 2, 2)), jnp.zeros((rows, 2)), (8, 8))
    mirrored = Geometry(
        jnp.broadcast_to(jnp.diag(jnp.array([-1.0, 1.0])), (rows, 2, 2)), jnp.tile(jnp.array([8.0, 0.0]), (rows, 1)), (8, 8)
    )
    return case.batch | {"views": (images, images[:, :, ::-1]), "mask": mask, "geometry": (still, mirrored)}


def test_a_mask_makes_the_background_of_large_views_flat():
    case = CASES["relicv2"]()
    mask = jnp.asarray(np.random.default_rng(0).integers(0, 2, (16, 8, 8)), jnp.uint8)
    batch = with_mask(case, mask)
    one, two = page._without_background(batch, KEY, 2, 1.0, 0.25, None)
    expected = jnp.where(mask[..., None] > 0, batch["views"][0], 0.25)
    assert np.array_equal(one, expected) and np.array_equal(two, expected[:, :, ::-1])
    some, _ = page._without_background(batch, KEY, 2, 0.5, 0.25, None)
    changed = np.any(np.asarray(some != batch["views"][0]), (1, 2, 3))
    assert 0 < changed.sum() < 16 and np.array_equal(some[changed], expected[changed])
    close(page._without_background(batch, KEY, 2, 0.0, 0.25, None), batch["views"])


def test_a_step_with_a_mask_learns_from_what_is_left():
    case, plain = CASES["relicv2"](mask_p=1.0), CASES["relicv2"]()
    mask = jnp.zeros((16, 8, 8)).at[:, 2:6].set(1)
    batch = with_mask(case, mask)
    by_hand = {**batch, "views": page._without_background(batch, KEY, 2, 1.0, 0.5, None)}
    del by_hand["mask"], by_hand["geometry"]
    _, metrics = jax.jit(case.method.step)(start(case), batch, KEY)
    _, expected = jax.jit(plain.method.step)(start(plain), by_hand, KEY)
    close(metrics, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, r"^steps=0"),
        ({"large": 1}, r"^large=1"),
        ({"negatives": 16}, r"^negatives=16 is not accepted: expected fewer than the batch, 16, or 0 for all others"),
        ({"temperature": 0.0}, r"^temperature=0.0"),
        ({"momentum": 2.0}, r"^momentum=2.0"),
        ({"mask_p": -1.0}, r"^mask_p=-1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        case = CASES["relicv2"](**options)
        jax.eval_shape(case.method.step, jax.eval_shape(case.method.init, KEY, case.batch, {}), case.batch, KEY)


def test_a_mask_without_geometry_is_refused():
    case = CASES["relicv2"]()
    batch = case.batch | {"mask": jnp.ones((16, 8, 8))}
    with pytest.raises(InputError, match=r"^a batch with a 'mask' has no 'geometry': expected views made with geometry=True$"):
        case.method.step(start(case), batch, KEY)
