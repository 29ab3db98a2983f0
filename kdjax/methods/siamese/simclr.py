"""Contrast within the batch."""

import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_positive
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def simclr(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    temperature: float = 0.1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Views of one image attract, all other images of the batch repel.

    `L = mean over views and rows of losses.nt_xent`. More than two views are taken as well: then all other views of an image are
    its positives, inside one logarithm. All views pass as one batch, and the encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS.
      temperature: of the cosines; 0.1 on ImageNet, 0.5 on CIFAR-10.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stands `"projector"`.

    Differs from the authors' code in the scale: there both views' means are added, twice this.

    Reference: Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual Representations, ICML
    2020 (arXiv 2002.05709).
    """
    check_positive(temperature=temperature)

    def objective(outputs):
        embeddings = jnp.stack([taps["embedding"] for taps in outputs.online])
        return {"nt_xent": losses.nt_xent(embeddings, temperature=temperature, axis_name=outputs.axis_name).T}, ()

    nets = {"encoder": encoder, "projector": projector}
    return views(nets, tx, objective, together=True, probe=probe, axis_name=axis_name)
