"""What is measured of a network with classifiers behind its stages."""

from collections.abc import Callable

import numpy as np

from kdjax.evaluate.classification import top_k
from kdjax.evaluate.classifier import classification

_MOST = 32  # exits that are looked for


def classification_of_exits(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """`classification` of the network, and at the end the accuracy of each exit and of all together.

    The plain names are those of the network's own classifier, which is the one that is shipped, whether or not an exit is better.
    `"exit1_accuracy"`, ... are those of `models.exits`, the shallowest first, and `"ensemble_accuracy"` that of the mean logits of
    the exits and the network; all are in percent. A network without exits has neither.
    """
    measures = classification(collect, split, final)
    if final:
        outputs, columns = collect(split, "logits", *(f"exit{k}" for k in range(1, _MOST + 1)))
        taps = {name: np.asarray(x) for name, x in next(iter(outputs.values())).items()}
        exits = sorted((name for name in taps if name != "logits"), key=lambda name: int(name.removeprefix("exit")))

        def accuracy(members):
            return np.array([np.asarray(top_k(z, columns["label"])).mean() * 100 for z in members])

        measures |= {f"{name}_accuracy": accuracy(taps[name]) for name in exits}
        if exits:
            measures["ensemble_accuracy"] = accuracy(np.mean(list(taps.values()), axis=0))
    return measures
