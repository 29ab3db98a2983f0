"""The layers of a trained network that a student is best hinted from."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import Net, check_option, pick
from kdjax.evaluate.hint_points import hint_points
from kdjax.evaluate.similarity import linear_cka, position_mean, r2_cca, rbf_cka, similarities
from kdjax.models import block_names, stage_names

METRICS: dict[str, Callable] = {"r2_cca": r2_cca, "linear_cka": linear_cka, "rbf_cka": rbf_cka}


def candidate_layers(taps: Sequence[str]) -> list[str]:
    """The taps of all blocks, in order, by their names; where a net has none, those of the ends of its stages.

    >>> candidate_layers(["stem", "stage1_block2", "stage2", "stage1_block1", "stage2_block1", "stage1", "logits"])
    ['stage1_block1', 'stage1_block2', 'stage2_block1']
    """
    blocks = [found for name in taps if (found := re.fullmatch(r"stage(\d+)_block(\d+)", name))]
    in_order = [block[0] for block in sorted(blocks, key=lambda block: (int(block[1]), int(block[2])))]
    return in_order or block_names(taps) or stage_names(taps)


def choose_hint_points(
    net: Net,
    params: Any,
    stats: Any,
    batches: Iterable[jax.Array],
    k: int,
    *,
    metric: str = "r2_cca",
    update: str = "mean_index",
) -> tuple[str, ...]:
    """The k layers of a teacher that stand for all: the hint points of PURSUhInT.

    Every block's output is averaged over its places; blocks are clustered by how alike they are over all images, and each cluster
    gives one layer.

    Args:
      net: the teacher, run in evaluation mode.
      params: its parameters.
      stats: its statistics.
      batches: images `[B, H, W, C]` as it is trained on, without augmentation; some 10,000 in all, and many more than a layer has
        channels.
      k: how many; as many as the student has stages.
      metric: `"r2_cca"`, `"linear_cka"` or `"rbf_cka"`.
      update: of the centres, as in `hint_points`.

    Returns:
      Names of taps, from the input to the output.

    Raises:
      InputError: where the net has fewer layers, or an option is not accepted.

    Reference: as `hint_points`.

    >>> from kdjax.models import conv_net
    >>> net, images = conv_net((3, 4, 5)), jax.random.uniform(jax.random.key(0), (32, 8, 8, 1))
    >>> choose_hint_points(net, *net.init(jax.random.key(1), images), [images], 3)
    ('stage1', 'stage2', 'stage3')
    """
    measure = jax.jit(pick("metric", metric, METRICS))

    @jax.jit
    def pooled(params, stats, images):
        taps, _ = net.apply(params, stats, images, train=False)
        return {name: position_mean(taps[name]) for name in candidate_layers(list(taps))}

    parts = [pooled(params, stats, images) for images in batches]
    check_option("batches", len(parts), lambda n: n >= 1, "one batch of images or more")
    names = candidate_layers(list(parts[0]))
    layers = [jnp.concatenate([part[name] for part in parts]) for name in names]
    return tuple(names[i] for i in hint_points(1 - similarities(layers, layers, measure), k, update=update))
