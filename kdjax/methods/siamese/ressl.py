"""Relations to other images, of a strong view as of a weak one."""

import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_positive, check_share, cosine_to_one, push, unit
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views
from kdjax.methods.siamese._queue import random_queue


def ressl(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    queue: int = 65536,
    query_temperature: float = 0.1,
    key_temperature: float = 0.04,
    momentum: float = 0.99,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A strong view is related to earlier images as the slow network says that the weak view is.

    `L = mean_B of losses.ressl(q_1, k_2, queue)`. The first view is the strong one, which the online nets see; the second the weak
    one, for the slow network. Behind the loss the keys enter the queue. The momentum rises to 1 by a cosine. The online encoder is
    what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser.
      steps: length of the run, for the schedule of the momentum.
      queue: how many keys are kept, a multiple of the global batch.
      query_temperature: of the strong view's cosines.
      key_temperature: of the weak view's, lower.
      momentum: how much of itself the slow network keeps, at the start.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, a strong and a weak one of each image; a probe asks for `"label"`. Its network is
      `"encoder"`; beside it stand `"projector"`, `"target_encoder"` and `"target_projector"`.

    Reference: Zheng et al., ReSSL: Relational Self-Supervised Learning with Weak Augmentation, NeurIPS 2021 (arXiv 2107.09282).
    """
    temperatures = {"query_temperature": query_temperature, "key_temperature": key_temperature}
    check_positive(**temperatures)
    check_share(momentum=momentum)
    check_count(steps=steps)

    def objective(outputs):
        query, key = outputs.online[0]["embedding"], outputs.target[0]["embedding"]
        relations = losses.ressl(query, key, outputs.memory.rows, **temperatures)
        return {"ressl": relations}, push(outputs.memory, unit(key), outputs.axis_name)

    def memory(key, outputs):
        return random_queue(key, queue, outputs.online[0]["embedding"])

    return views(
        {"encoder": encoder, "projector": projector}, tx, objective, follow=("encoder", "projector"),
        decay=lambda step: cosine_to_one(step, steps, momentum), online_sees=(0,), target_sees=(1,), memory=memory, probe=probe,
        axis_name=axis_name,
    )  # fmt: skip
