"""How surely a mark in the probabilities of a classifier tells whose it is.

The paper of the mark (Chien and Shen, 2022, arXiv 2208.05477) was not at hand: all of this is a reconstruction.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.core import check_count, check_option, check_positive
from kdjax.evaluate.detection import auroc
from kdjax.evaluate.measure import Measure

MEASURES = (
    Measure("score", "", "higher", 3),
    Measure("chance", "", "lower", 3),
    Measure("auroc", "%", "higher", 2),
    *(Measure(name, "%", "higher", 2) for name in ("shown", "found")),
)


def watermark_key(seed: int, classes: int, *, shared: bool = False, concentration: float = 0.3) -> np.ndarray:
    """A secret key: for each class a distribution over the others, as `losses.keyed_labels` takes it.

    Args:
      seed: of the draw.
      classes: K, 3 or more.
      shared: whether all classes have one profile, which begins behind each class in turn (a unified perturbation); False: each has
        a draw of its own (a customised one).
      concentration: of the Dirichlet distribution that rows are drawn from, above 0: the smaller, the more uneven.

    Returns:
      `[K, K]` float32; its rows sum to 1, its diagonal is 0.

    Raises:
      InputError: for fewer classes, or a concentration that is not above 0.

    >>> key = watermark_key(0, 4)
    >>> key.shape, np.diag(key).tolist(), bool(np.allclose(key.sum(1), 1))
    ((4, 4), [0.0, 0.0, 0.0, 0.0], True)
    """
    check_option("classes", classes, lambda n: n >= 3, "3 or more")
    check_positive(concentration=concentration)
    drawn = np.random.default_rng(seed).dirichlet(np.full(classes - 1, concentration), 1 if shared else classes)
    key = np.zeros((classes, classes), np.float32)
    for c in range(classes):
        key[c, (c + np.arange(1, classes)) % classes] = drawn[0 if shared else c]
    return key


def detector_inputs(logits: jax.Array) -> jax.Array:
    """What a detector of marks sees: the logarithms of the probabilities, scaled to mean 0 and deviation 1, and the largest class.

    Args:
      logits: `[..., K]`.

    Returns:
      `[..., 2 K]`.

    >>> detector_inputs(jnp.array([[9.0, 1.0, 5.0]]))[0, 3:].tolist()
    [1.0, 0.0, 0.0]
    """
    said = jnp.log(jax.nn.softmax(logits) + 1e-8)
    said = (said - jnp.mean(said, -1, keepdims=True)) / (jnp.std(said, -1, keepdims=True) + 1e-8)
    return jnp.concatenate([said, jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=said.dtype)], -1)


def chance_of_key(logits: jax.Array, key: np.ndarray, others: Sequence[np.ndarray]) -> tuple[float, float]:
    """How far predictions show a key, and how often a key of chance is shown as far.

    Args:
      logits: `[N, K]` of one network.
      key: the secret one.
      others: keys drawn as it was.

    Returns:
      `(score, p)`: the mean of `losses.watermark_score`, and `(1 + how many of the others have no lower one) / (1 + others)`.

    Raises:
      InputError: where there are no others.

    >>> keys = [watermark_key(seed, 5) for seed in range(20)]
    >>> told = jnp.log(losses.keyed_labels(jnp.arange(5), keys[0], epsilon=0.2) + 1e-6)
    >>> round(chance_of_key(told, keys[0], keys[1:])[1], 2)
    0.05
    """
    check_count(others=len(others))
    scores = np.asarray(_scores(jnp.asarray(logits), jnp.asarray(np.stack([key, *others]))))
    return float(scores[0]), float((1 + np.sum(scores[1:] >= scores[0])) / len(scores))


@jax.jit
def _scores(logits, keys):
    return jax.lax.map(lambda key: jnp.mean(losses.watermark_score(logits, key)), keys, batch_size=64)


def detection_rates(positive: np.ndarray, negative: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """The share of the first that is above a threshold which at most such a share of the second is above: a curve of detection.

    >>> detection_rates(np.array([1.0, 3.0, 4.0]), np.array([2.0, 1.0, 0.0, 3.5]), (0.0, 0.25)).round(2).tolist()
    [0.33, 0.67]
    """
    ordered = np.sort(negative)[::-1]
    thresholds = [ordered[min(int(rate * len(ordered) + 1e-9), len(ordered) - 1)] for rate in rates]
    return np.array([1.0 if rate >= 1 else np.mean(positive > t) for rate, t in zip(rates, thresholds, strict=True)])


def accuracy_of_pair(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """The accuracies of two networks that are trained side by side as a `models.ensemble`, the marked one and the clean one.

    `"accuracy"` is that of the first, `"clean_accuracy"` that of the second, in percent.
    """
    outputs, columns = collect(split, "teacher0/logits", "teacher1/logits")
    taps = next(iter(outputs.values()))
    right = (np.mean(np.argmax(taps[f"teacher{k}/logits"], -1) == columns["label"], -1) for k in (0, 1))
    return {name: 100 * share for name, share in zip(("accuracy", "clean_accuracy"), right, strict=True)}


def marks(names: Sequence[str], key: np.ndarray, others: Sequence[np.ndarray], rates: Sequence[float]) -> Callable:
    """Makes the measure of a mark in what came of a marked network, and of what came of a clean one in the same way.

    The first network gives `"logits"` `[N, A, 2, K]`, of A ways and of a marked and a clean network each, and `"told"` `[N, A, 2]`,
    the detector's logits, above 0 for a mark. Of each way, at the end:

    - `<name>_accuracy` and `<name>_clean_accuracy`, in percent;
    - `<name>_score`, `<name>_clean_score` and `<name>_chance`, `<name>_clean_chance`, as of `chance_of_key`;
    - `<name>_auroc`: by how many of their images the two are told apart by the score; `<name>_shown_at_5`: the share of the marked
      one's images whose score is above that of all but 5% of the clean one's;
    - `<name>_detector_accuracy`: the share of images that the detector decides rightly, of as many marked as clean ones;
      `<name>_detector_auroc` and `<name>_detector_found_at_5`: as above, by the detector's logit.

    And `"accuracy"`, always: the detector's, of the first way.

    Args:
      names: of the ways.
      key: the secret one.
      others: keys of chance.
      rates: shares of the clean one's images, from 0 to 1.
    """

    def of_member(z: np.ndarray, told: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {}
        for a, name in enumerate(names):
            for k, who in enumerate(("", "clean_")):
                found[f"{name}_{who}accuracy"] = float(np.mean(z[:, a, k].argmax(-1) == labels)) * 100
                score, chance = chance_of_key(jnp.asarray(z[:, a, k]), key, others)
                found |= {f"{name}_{who}score": score, f"{name}_{who}chance": chance}
            each = [np.asarray(losses.watermark_score(jnp.asarray(z[:, a, k]), jnp.asarray(key))) for k in (0, 1)]
            for prefix, what, (one, other) in (("", "shown", each), ("detector_", "found", (told[:, a, 0], told[:, a, 1]))):
                found[f"{name}_{prefix}auroc"] = auroc(one, other) * 100
                shares = detection_rates(one, other, rates) * 100
                found |= {f"{name}_{prefix}{what}_at_{100 * r:g}": float(v) for r, v in zip(rates, shares, strict=True)}
            found[f"{name}_detector_accuracy"] = _right(told[:, a])
        return found

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        outputs, columns = collect(split, "logits", "told")
        taps = next(iter(outputs.values()))
        logits, told = np.asarray(taps["logits"]), np.asarray(taps["told"])
        measures = {"accuracy": np.array([_right(one[:, 0]) for one in told])}
        if final:
            each = [of_member(z, t, columns["label"]) for z, t in zip(logits, told, strict=True)]
            measures |= {name: np.array([one[name] for one in each]) for name in each[0]}
        return measures

    return measure


def _right(told: np.ndarray) -> float:
    """The share, in percent, of what is told rightly of a marked and a clean network, `[N, 2]`."""
    return float(np.mean([told[:, 0] > 0, told[:, 1] <= 0])) * 100
