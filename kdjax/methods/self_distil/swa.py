"""Stochastic weight averaging."""

import optax

from kdjax.core import Method, Net, averaged, running_mean
from kdjax.methods.labels.supervised import supervised


def swa(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    start: int,
    every: int = 1,
    smoothing: float = 0.0,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """Labels teach a network, and the plain mean of its weights from some step on is what is shipped.

    `a <- (n a + w) / (n + 1)` behind the steps `start`, `start + every`, ..., with n counted from 0; until then `a = w`. The rate
    is to stay high: let it be constant from `start` on. Statistics of batch norm are averaged here likewise;
    `core.estimate_statistics` measures them at the mean.

    Args:
      network: the net to train.
      tx: its optimiser, whose rate is high and constant from `start` on.
      start: the steps done when the first weights are taken; 0: those that training starts from.
      every: steps from one to the next.
      smoothing: of the labels, as in `supervised`.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the net gives the tap `"logits"`. Its network is `"network"`, the mean; beside
      it stands what is trained, `"online_network"`.

    Raises:
      InputError: for steps out of range.

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging Weights Leads to Wider Optima and Better Generalization,
    UAI 2018 (arXiv 1803.05407); for pre-trained language models over steps: Lu et al., Improving Generalization of Pre-trained
    Language Models via Stochastic Weight Averaging, Findings of EMNLP 2022 (arXiv 2212.05956).
    """
    trained = supervised(network, tx, smoothing=smoothing, axis_name=axis_name, micro=micro)
    return averaged(trained, running_mean(start, every))
