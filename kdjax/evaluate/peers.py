"""What is measured of networks that learn side by side."""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from kdjax.evaluate.classification import top_k
from kdjax.evaluate.classifier import classification


def classification_of_peers(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """`classification` of each peer, and at the end what they are worth in the mean, together, and how far they differ.

    The plain names are those of the first peer, which is the one that is shipped; `"mean_accuracy"` is the mean over peers,
    `"ensemble_accuracy"` that of their mean logits, `"together_accuracy"` that of what the method itself makes of them all, the tap
    `"together"` of the first (a gated ensemble, a fused classifier), and `"disagreement"` the share of images for which two peers
    name different classes, the mean over pairs. All are in percent.
    """
    measures = classification(collect, split, final)
    if final:
        outputs, columns = collect(split, "logits", "together")
        logits, labels = np.stack([np.asarray(taps["logits"]) for taps in outputs.values()]), columns["label"]
        first = logits.argmax(-1)
        apart = [(a != b).mean(-1) for a, b in combinations(first, 2)]

        def accuracy(members):
            return np.array([np.asarray(top_k(z, labels)).mean() * 100 for z in members])

        measures["mean_accuracy"] = np.mean([accuracy(one) for one in logits], axis=0)
        measures["ensemble_accuracy"] = accuracy(logits.mean(0))
        if (own := next(iter(outputs.values())).get("together")) is not None:
            measures["together_accuracy"] = accuracy(own)
        measures["disagreement"] = np.mean(apart, axis=0) * 100
    return measures
