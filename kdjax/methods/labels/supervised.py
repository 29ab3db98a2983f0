"""Plain supervised training."""

import optax

from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import labels_objective, student


def supervised(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    smoothing: float = 0.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Cross-entropy with the labels: how a teacher is made, and the student alone that a distilled one is held against.

    `L = mean_B CE(q, softmax(z))`, with `q` the label, smoothed over all classes. A batch whose `label` is `[B, K]` (mixup,
    cutmix) trains on that distribution; rows with a negative label (unlabelled images) do not count.

    Args:
      network: the net to train.
      tx: its optimiser.
      smoothing: probability mass spread over all K classes; 0 is plain cross-entropy.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the net gives the tap `"logits"`. Its network is `"network"`.

    Reference: smoothing: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016
    (arXiv 1512.00567).
    """
    return student(network, tx, labels_objective(smoothing=smoothing), name="network", axis_name=axis_name, micro=micro)
