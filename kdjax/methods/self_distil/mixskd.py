"""Self-knowledge distillation from mixup."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_positive
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.images import as_float, inputs_of
from kdjax.methods.recipes import Objective, student
from kdjax.methods.self_distil._exits import from_exits
from kdjax.models import last_stage, mlp_head


def mixskd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    exits: Net,
    exit_weight: Weight = 1.0,
    mixed_weight: Weight = 1.0,
    weight: Weight = 1.0,
    feature_weight: Weight = 1.0,
    discriminator_weight: Weight = 1.0,
    temperature: float = 3.0,
    alpha: float = 0.4,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """What a network makes of mixed images and the mixture of what it makes of the images teach each other, at every exit.

    Each step draws one `share ~ Beta(alpha, alpha)`; rows 2i and 2i + 1 of a batch, whose order is random, are mixed with each
    other, and images and mixtures pass as one batch of 2 B rows. The loss is the weighted sum of the terms of
    `losses.mixskd_terms` and of `losses.told_apart`, summed over the exits with the network's own classifier. A self-teacher,
    linear on the maps of all exits together, and a discriminator an exit (C, 128, 2 units) learn beside the network and are not
    shipped, nor are the exits.

    Args:
      network: the net to train.
      tx: its optimiser, that of exits, self-teacher and discriminators too.
      exits: made by `models.exits` for this net.
      exit_weight: factor of the cross-entropies of all exits, the shipped one too, on the images.
      mixed_weight: factor of those on mixtures and of the self-teacher; 0 in the authors' script for CIFAR, which forgets them and
        so never trains the self-teacher.
      weight: factor of the divergences, which hold T^2.
      feature_weight: factor of the distances of maps.
      discriminator_weight: factor of what discriminators cannot tell apart, which network and discriminators both lower.
      temperature: T, above 0.
      alpha: of the mixtures, above 0; 0.2 in the paper for ImageNet.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over, of an even number of rows.

    Returns:
      A Method of batches of `"image"` and `"label"`, class numbers of all rows, whose number is even; the net gives
      `"logits"` and the ends of its stages. Its network is `"network"`.

    Reference: Yang et al., MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition, ECCV 2022 (arXiv 2208.05768).
    """
    check_positive(temperature=temperature, alpha=alpha)

    def terms(seen, adapted):
        logits = [_by_pairs(z) for z in (*from_exits(seen.student), seen.student["logits"])]
        labels, share = _by_pairs(seen.batch["label"])[:, :2], seen.batch["share"][0]

        def of_pair(logits, maps, both, labels):
            swapped = jnp.array([1, 0])
            return losses.mixskd_terms(logits, maps, both[:2], both[2:], labels, swapped, share, temperature=temperature)

        found = jax.vmap(of_pair)(logits, [_by_pairs(f) for f in _maps(seen)], _by_pairs(adapted["self_teacher"]), labels)
        scores = [_by_pairs(x) for name, x in adapted.items() if name.startswith("discriminator")]
        told = [losses.told_apart(x[:, :2].reshape(-1, 2), x[:, 2:].reshape(-1, 2)) for x in scores]
        return {name: x.reshape(-1) for name, x in found.items()} | {"discriminators": jnp.sum(jnp.stack(told), axis=0)}

    weights = {
        "labels": exit_weight, "mixed_labels": mixed_weight, "divergence": weight, "maps": feature_weight,
        "discriminators": discriminator_weight,
    }  # fmt: skip
    objective = Objective(terms, weights, Net(_init, _apply), needs=(), sees=with_mixtures, heads=exits)
    method = student(network, tx, objective, name="network", axis_name=axis_name, micro=micro)

    def shared(batch, key):
        share = jax.random.beta(jax.random.fold_in(key, 4), alpha, alpha)
        return {**batch, "share": jnp.full(len(inputs_of(batch)), share)}

    def init(key, batch, given, **start):
        return method.init(key, shared(batch, key), given, **start)

    def step(state, batch, key):
        return method.step(state, shared(batch, key), key)

    def loss(params, state, batch, key):
        return method.loss(params, state, shared(batch, key), key)

    return method._replace(init=init, step=step, loss=loss)


def with_mixtures(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Of rows 2i and 2i + 1 four rows: their images, and `share` of each and the rest of the other; other columns twice.

    Raises:
      InputError: for an odd number of rows.
    """
    rows = len(inputs_of(batch))
    if rows % 2:
        raise InputError(f"a batch has {rows} rows: expected an even number, as rows are mixed in twos")
    image, others = as_float(inputs_of(batch)), {name: x for name, x in batch.items() if name != "image"}

    def doubled(x, mixtures=None):
        pairs = x.reshape(-1, 2, *x.shape[1:])
        return jnp.concatenate([pairs, pairs if mixtures is None else mixtures(pairs)], axis=1).reshape(-1, *x.shape[1:])

    return jax.tree.map(doubled, others) | {"image": doubled(image, lambda x: _mixed(x, batch["share"][0]))}


def _mixed(pairs: jax.Array, share: jax.Array) -> jax.Array:
    """`[P, 2, ...]`, each with the other of its pair."""
    return share * pairs + (1 - share) * pairs[:, ::-1]


def _by_pairs(x: jax.Array) -> jax.Array:
    """`[2B, ...]` of `with_mixtures` to `[B / 2, 4, ...]`, two images before their mixtures."""
    return x.reshape(-1, 4, *x.shape[1:])


def _maps(seen: Any) -> list[jax.Array]:
    """Those of all exits, the last one of the network's own."""
    return [*from_exits(seen.student, "_map"), seen.student[last_stage(seen.student)]]


def _layers(seen: Any) -> tuple[Net, Net]:
    """The self-teacher and a discriminator; both look at means over positions, with which a 1x1 convolution commutes."""
    width, classes = _maps(seen)[-1].shape[-1], seen.student["logits"].shape[-1]
    teacher = mlp_head(width, classes, norm=False, hidden_bias=False, out_bias=True, activation="identity")
    return teacher, mlp_head(128, 2, norm=False, out_bias=True)


def _interpolated(seen: Any) -> dict[str, jax.Array]:
    """The mean features `[2B, C]` at each exit: of images those mixed afterwards, and of mixtures."""
    share = seen.batch["share"][0]
    pairs = [_by_pairs(jnp.mean(f, (1, 2), dtype=jnp.float32)) for f in _maps(seen)]
    found = [jnp.concatenate([_mixed(x[:, :2], share), x[:, 2:]], axis=1).reshape(-1, x.shape[-1]) for x in pairs]
    return {f"discriminator{k}": x for k, x in enumerate(found, 1)}


def _init(key, seen):
    (teacher, discriminator), features = _layers(seen), _interpolated(seen)
    params = {"self_teacher": teacher.init(key, jnp.concatenate(list(features.values()), axis=-1))[0]}
    keys = jax.random.split(jax.random.fold_in(key, 1), len(features))
    return params | {name: discriminator.init(k, x)[0] for k, (name, x) in zip(keys, features.items(), strict=True)}, {}


def _apply(params, stats, seen, *, train, key=None):
    (teacher, discriminator), features = _layers(seen), _interpolated(seen)
    seen_by = {"self_teacher": jnp.concatenate(list(features.values()), axis=-1)} | features
    nets = {name: teacher if name == "self_teacher" else discriminator for name in seen_by}
    return {name: nets[name].apply(params[name], {}, x, train=train)[0]["embedding"] for name, x in seen_by.items()}, stats
