"""Contrast with a few images, and the same relations to them from every view."""

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.augment import move_mask
from kdjax.core import (
    InputError,
    Method,
    Net,
    check_count,
    check_option,
    check_positive,
    check_share,
    cosine_to_one,
    offset,
    row_keys,
)
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import views


def relicv2(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    large: int = 4,
    negatives: int = 10,
    temperature: float = 0.3,
    contrast: Weight = 1.0,
    invariance: Weight = 1.0,
    momentum: float = 0.996,
    mask_p: float = 0.1,
    background: float = 0.5,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Every view finds what a slow network makes of the large views, among a few images, and so that views look at them alike.

    `L = mean over pairs (a, b) of contrast losses.relic_contrast(q_a, z'_b) + invariance losses.relic_invariance(...)`, `a` any
    view and `b` a large one other than `a`. The first `large` views are large and seen by both networks; small ones may follow. The
    negatives are drawn anew at each step, the same for all pairs. The momentum rises to 1 by a cosine. The online encoder is what
    is shipped.

    Where a batch has a `"mask"` `[B, H, W]` of its images, above 0 where something is to be seen, and the `"geometry"` of its views
    (`augment.views(..., geometry=True)`), the background of some large views is made flat.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS.
      steps: length of the run, for the schedule of the momentum.
      large: how many of the views are large; the paper has four, and two small ones.
      negatives: images that each is told from; 0: all others of the batch.
      temperature: of the cosines.
      contrast: factor of the first term.
      invariance: of the second.
      momentum: how much of itself the slow network keeps, at the start.
      mask_p: probability that a large view loses its background.
      background: its brightness then, in every channel.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, `large` or more of each image; a probe asks for `"label"`. Its network is `"encoder"`;
      beside it stand `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Differs from the paper in that a view is not paired with itself, and that the background goes behind the colours of a view; the
    authors' training code is not released.

    Reference: Tomasev, Bica, McWilliams, Buesing, Pascanu, Blundell and Mitrovic, Pushing the Limits of Self-Supervised ResNets:
    Can We Outperform Supervised Learning Without Labels on ImageNet?, 2022 (arXiv 2201.05119).
    """
    check_count(steps=steps)
    check_option("large", large, lambda n: n >= 2, "a whole number of at least 2")
    check_option("negatives", negatives, lambda n: n >= 0, "a whole number, 0 or more")
    check_positive(temperature=temperature)
    check_share(momentum=momentum, mask_p=mask_p)

    def objective(outputs):
        online, target = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        others = _others(outputs.key, len(online[0]), negatives, outputs.axis_name)
        options = {"temperature": temperature, "axis_name": outputs.axis_name}
        found, alike = [], []
        for a, b in ((a, b) for a in range(len(online)) for b in range(large) if a != b):
            swapped = (online[b], target[a]) if a < large else None
            found.append(losses.relic_contrast(online[a], target[b], others, **options))
            alike.append(losses.relic_invariance(online[a], target[b], swapped, others, **options))
        return {"contrast": sum(found) / len(found), "invariance": sum(alike) / len(alike)}, ()

    method = views(
        {"encoder": encoder, "projector": projector, "predictor": predictor}, tx, objective,
        weights={"contrast": contrast, "invariance": invariance}, follow=("encoder", "projector"),
        decay=lambda step: cosine_to_one(step, steps, momentum), target_sees=range(large), probe=probe, axis_name=axis_name,
    )  # fmt: skip

    def shown(batch, key):
        return (
            {**batch, "views": _without_background(batch, key, large, mask_p, background, axis_name)} if "mask" in batch else batch
        )

    return method._replace(
        step=lambda state, batch, key: method.step(state, shown(batch, key), key),
        loss=lambda params, state, batch, key: method.loss(params, state, shown(batch, key), key),
    )


def _others(key: jax.Array, rows: int, count: int, axis_name: AxisName) -> jax.Array | None:
    """So many other rows of the global batch for each row of this device, none of them twice; None for all."""
    if not count:
        return None
    whole = rows if axis_name is None else rows * jax.lax.axis_size(axis_name)
    check_option("negatives", count, lambda n: n < whole, f"fewer than the batch, {whole}, or 0 for all others")

    def draw(key, own):
        found = jax.random.choice(key, whole - 1, (count,), replace=False)
        return found + (found >= own)

    return jax.vmap(draw)(row_keys(key, rows, axis_name), offset(rows, axis_name) + jnp.arange(rows))


def _without_background(
    batch: dict, key: jax.Array, large: int, p: float, background: float, axis_name: AxisName
) -> tuple[jax.Array, ...]:
    """The views, of which some large ones show nothing but what the mask has."""
    if "geometry" not in batch:
        raise InputError("a batch with a 'mask' has no 'geometry': expected views made with geometry=True")
    found = list(batch["views"])
    for number, own in enumerate(jax.random.split(jax.random.fold_in(key, 3), large)):  # 1 and 2 are the recipe's
        view = found[number]
        flat = jax.vmap(lambda k: jax.random.bernoulli(k, p))(row_keys(own, len(view), axis_name))
        seen = jax.vmap(lambda mask, moved: move_mask(mask, moved, fill=0))(batch["mask"], batch["geometry"][number]) > 0
        hidden = flat[:, None, None] & ~seen
        found[number] = jnp.where(hidden[..., None], background, view)
    return tuple(found)
