"""What a network makes of images that are foreign, attacked or damaged."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import augment, evaluate
from kdjax.augment.corrupt import CORRUPTIONS
from launch.run.image_batches import Batches, Weights

EPSILONS = (2, 4, 8, 16, 32)  # of 255
STRENGTHS = (1, 2, 3, 4, 5)


def ood(weights: Weights, test: Batches, others: dict[str, Batches]) -> dict:
    """How well two scores tell test images from each foreign set, in percent: the highest probability, and ODIN."""
    classify = _classifier(weights)

    @jax.jit
    def scores(images):
        images = augment.as_float(images)
        return evaluate.max_probability(classify(images)), evaluate.odin(classify, images)

    def of(batches):
        both = zip(*[scores(batch["image"]) for batch in batches], strict=True)
        return dict(zip(("probability", "odin"), map(np.concatenate, both), strict=True))

    own, found = of(test), {}
    for name, batches in others.items():
        other = of(batches)
        found[name] = {
            score: {
                "auroc": 100 * evaluate.auroc(own[score], other[score]),
                "fpr95": 100 * evaluate.false_positive_rate(own[score], other[score]),
            }
            for score in own
        }
    return found


def attack(weights: Weights, test: Batches) -> dict:
    """Accuracy in percent on images that are changed by up to so many 255ths of the range, in one step and in ten."""
    classify = _classifier(weights)

    @jax.jit
    def correct(images, labels, key, epsilon):
        images, loss = augment.as_float(images), lambda x: evaluate.negative_log_likelihood(classify(x), labels)
        changed = images, evaluate.fgsm(loss, images, epsilon=epsilon), evaluate.pgd(loss, images, key, epsilon=epsilon)
        return [evaluate.top_k(classify(x), labels) for x in changed]

    def accuracies(epsilon):
        keys = [jax.random.key(number) for number in range(len(test))]
        parts = [correct(b["image"], b["label"], key, jnp.float32(epsilon / 255)) for b, key in zip(test, keys, strict=True)]
        return [100 * float(np.concatenate(part).mean()) for part in zip(*parts, strict=True)]

    plain, once, often = zip(*map(accuracies, EPSILONS), strict=True)
    return {"epsilons": list(EPSILONS), "clean": plain[0], "fgsm": list(once), "pgd": list(often)}


def corruption(weights: Weights, test: Batches) -> dict:
    """Accuracy in percent on images with five kinds of damage, each in five strengths."""
    logits = jax.jit(_classifier(weights))

    def accuracy(kind: str, strength: int) -> float:
        keys = [jax.random.key(number) for number in range(len(test))]
        seen = [_damaged(batch["image"], key, strength, kind=kind) for batch, key in zip(test, keys, strict=True)]
        right = [np.argmax(logits(x), -1) == batch["label"] for x, batch in zip(seen, test, strict=True)]
        return 100 * float(np.mean(right))

    kinds = {kind: [accuracy(kind, strength) for strength in STRENGTHS] for kind in CORRUPTIONS}
    return {"kinds": kinds, "mean": float(np.mean(list(kinds.values())))}


@partial(jax.jit, static_argnames="kind")
def _damaged(images: jax.Array, key: jax.Array, strength: int, *, kind: str) -> jax.Array:
    one = lambda key, image: augment.corrupt(key, image, kind=kind, strength=strength)  # noqa: E731
    return jax.vmap(one)(jax.random.split(key, len(images)), augment.as_float(images))


def _classifier(weights: Weights) -> Callable[[jax.Array], jax.Array]:
    net, params, stats = weights
    return lambda images: net.apply(params, stats, images, train=False)[0]["logits"]
