"""Losses whose targets are clusters: soft codes shared out evenly among prototypes, or the labels of k-means."""

from operator import index

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import check_option, check_rows
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_positive, wide
from kdjax.losses._labels import class_numbers
from kdjax.losses._softmax import log_probabilities, tempered
from kdjax.losses._views import check_views, swapped
from kdjax.losses.logits import cross_entropy


def swav(scores: ArrayLike, assignments: ArrayLike, *, temperature: ArrayLike = 0.1, axis_name: AxisName = None) -> jax.Array:
    """The cross-entropy of each code with the predictions of the other views, the mean over all pairs and the batch.

        mean over a < A, v < V with v != a, and n of  -sum_k assignments[a, n, k] log softmax(scores / T)[v, n, k]

    The gradient stops at the codes, which `sinkhorn` makes from the scores themselves, not from scores / T.

    Args:
      scores: `[V, B, K]`, cosines of all views with K prototypes, the A views that gave codes first.
      assignments: `[A, B, K]`, codes of the first A views, as a rule the two large crops; each row sums to 1.
      temperature: T, a number above 0; the paper has 0.1.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats.

    Raises:
      InputError: for other shapes, fewer than two views, codes of no view or of more than there are, or a temperature that is not
        above 0.

    Reference:
      Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
      Assignments", NeurIPS 2020, arXiv 2006.09882.

    >>> scores, codes = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]), jnp.array([[[1.0, 0.0]]])
    >>> print(f"{swav(scores, codes, temperature=0.1):.4f}")  # the second view gives the code of the first e^-10
    10.0000
    """
    check_views({"scores": scores}, {"assignments": assignments})
    check_positive("temperature", temperature)
    return swapped(log_probabilities(scores, temperature), lax.stop_gradient(wide(assignments)), axis_name)


def sinkhorn(scores: ArrayLike, *, epsilon: ArrayLike = 0.05, iterations: ArrayLike = 3, axis_name: AxisName = None) -> jax.Array:
    """Codes that give every row one unit and every prototype nearly the same share of all rows.

        Q = exp(scores / epsilon); then, `iterations` times: each column of Q is divided by its sum, each row by its sum

    The rows come last, so that each sums to 1 while the columns only come near to B / K. Columns are summed over all devices.
    Computed in logarithms: scores of any size and any epsilon are safe. A row of -inf counts for nothing and gets zeros: so are
    rows of a queue left out that is not full yet. Fewer rows than prototypes make poor codes: then rows of earlier batches,
    scored anew, go before those of this one. No gradient flows.

    Args:
      scores: `[B, K]`, cosines of rows with K prototypes; of a queue each device passes rows of its own.
      epsilon: how soft the codes are, a number above 0; the paper has 0.05.
      iterations: how often, a whole number of at least 1; the paper has 3.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B, K]`, each row sums to 1.

    Raises:
      InputError: for another shape, a single row (each prototype is then its, whatever the scores), or options out of range.

    Reference:
      Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
      Assignments", NeurIPS 2020, arXiv 2006.09882; Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport",
      NIPS 2013, arXiv 1306.0895.

    >>> sinkhorn(jnp.array([[1.0, 0.0], [1.0, 0.0]]), epsilon=0.05, iterations=3).tolist()  # both like the first: it is shared
    [[0.5, 0.5], [0.5, 0.5]]
    """
    sizes = check_shapes("B K", scores=scores)
    check_positive("epsilon", epsilon)
    check_option("iterations", iterations, lambda n: index(n) >= 1, "a whole number, 1 or more")
    check_rows(sizes["B"][0], axis_name, "sinkhorn")
    s = lax.stop_gradient(wide(scores))
    # A number added to a column changes nothing. Taken off before the division, it does not cost the digits of the rest.
    log_q = (s - _top(s, 0, axis_name)) / wide(epsilon)
    return jnp.exp(lax.fori_loop(0, iterations, lambda _, q: _shared(_shared(q, 0, axis_name), 1, None), log_q))


def deepcluster(
    outputs: ArrayLike, assignments: ArrayLike, *, temperature: ArrayLike = 0.1, axis_name: AxisName = None
) -> jax.Array:
    """The cross-entropy of all views with their image's cluster, the mean over the views of images that have one.

        mean over v and the n with a cluster of  -log softmax(outputs / T)[v, n, assignments[n]]

    Images whose cluster is -1 are left out. For several heads take the mean of their losses.

    Args:
      outputs: `[V, B, K]`, cosines of all views with K centroids.
      assignments: cluster numbers `[B]` (an integer type), or -1.
      temperature: T, a number above 0; the paper has 0.1.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats; 0 where no image has a cluster, NaN for another number outside [0, K).

    Raises:
      InputError: for other shapes, clusters that are not integers, or a temperature that is not above 0.

    Reference:
      Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
      Assignments", NeurIPS 2020, arXiv 2006.09882, which has this form; Caron, Bojanowski, Joulin, Douze, "Deep Clustering for
      Unsupervised Learning of Visual Features", ECCV 2018, arXiv 1807.05520. The authors' code marks images without a cluster
      by -100.

    >>> outputs = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1]]]))
    >>> print(f"{deepcluster(outputs, jnp.array([0, -1]), temperature=1.0):.4f}")
    0.6931
    """
    sizes = check_shapes("V B K", outputs=outputs)
    clusters = class_numbers(assignments, sizes, called="assignments")
    check_positive("temperature", temperature)
    clusters = jnp.broadcast_to(clusters[None], np.shape(outputs)[:2])
    some = clusters != -1
    return collectives.mean(cross_entropy(tempered(outputs, temperature), clusters, where=some), some, axis_name)


def _shared(log_q: jax.Array, axis: int, axis_name: AxisName) -> jax.Array:
    """Logarithms of numbers of which those along `axis` sum to 1; -inf stays."""
    log_q = log_q - _top(log_q, axis, axis_name)
    whole = collectives.psum(jnp.sum(jnp.exp(log_q), axis=axis, keepdims=True), axis_name)
    return log_q - jnp.log(jnp.where(whole > 0, whole, 1.0))


def _top(x: jax.Array, axis: int, axis_name: AxisName) -> jax.Array:
    top = collectives.largest(x, axis_name, axis=axis)
    return jnp.where(jnp.isneginf(top), 0.0, top)
