"""What a task asks of a network before any training: the gradient at random weights, and how far those of two tasks lie apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.net import Net
from kdjax.core.tree_paths import by_path
from kdjax.evaluate.classification import negative_log_likelihood


def principal_gradient(net: Net, batches: Iterable[Mapping[str, Any]], key: jax.Array) -> Any:
    """The principal gradient expectation of a task: the mean gradient of its loss, at weights drawn anew for every batch.

        mean over b of  grad at theta_b of  mean over n of  -log softmax(net(x_n; theta_b))[y_n],   theta_b ~ init

    No step is taken: one pass over the set describes the task. Redrawing matters, since the gradients at one draw describe that
    draw as much as the task. Batch norm takes the statistics of the batch.

    Args:
      net: with the tap `"logits"`, as wide as the task has classes.
      batches: `{"image", "label"}`, alike for all tasks that are compared: the size of a gradient follows the number of rows.
      key: of the weights. With the same key every task sees the same weights at batch b, but in the classifier, whose shape is the
        task's own, so that less of the distance is chance.

    Returns:
      A tree like the net's parameters, float32 or wider, the classifier's part included.

    Raises:
      InputError: when there is no batch.

    Reference:
      Huiyan Qi, Lechao Cheng, Jingjing Chen, Yue Yu, Xue Song, Zunlei Feng, Yu-Gang Jiang, "Transferability Estimation Based On
      Principal Gradient Expectation", 2022, arXiv:2211.16299.

    >>> net = Net(lambda key, x: (jnp.zeros((1, 2)), {}), lambda w, stats, x, *, train, key=None: ({"logits": x @ w}, stats))
    >>> print(principal_gradient(net, [{"image": jnp.array([[1.0], [3.0]]), "label": jnp.array([0, 0])}], jax.random.key(0)))
    [[-1.  1.]]
    """

    @jax.jit
    def gradient(key, image, label):
        of_weights, within = jax.random.split(key)
        params, stats = net.init(of_weights, image)

        def loss(params):
            taps, _ = net.apply(params, stats, image, train=True, key=within)
            return jnp.mean(negative_log_likelihood(taps["logits"], label))

        return jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), jax.grad(loss)(params))

    @jax.jit
    def moved(mean, new, count):
        return jax.tree.map(lambda m, g: m + (g - m) / count, mean, new)

    mean = None
    for number, batch in enumerate(batches):
        new = gradient(jax.random.fold_in(key, number), batch["image"], jnp.asarray(batch["label"]))
        mean = new if mean is None else moved(mean, new, number + 1)
    if mean is None:
        raise InputError("batches hold nothing: expected 1 batch or more")
    return mean


def pge_distance(first: Any, second: Any, *, without: Sequence[str] = ("classifier",), normalised: bool = False) -> float:
    """How far the principal gradients of two tasks lie apart; a small distance promises a good transfer.

        |a - b| / (|a| |b|)  =  | a / |a|^2 - b / |b|^2 |

    over all weights of both but the classifier's. It is not free of scale: gradients twice as large are half as far apart. Keep the
    size of the batches and the normalisation of the images equal, or take the form that is free of it, `|a / |a| - b / |b||` =
    sqrt(2 - 2 cos).

    Args:
      first: a tree of gradients, of `principal_gradient`.
      second: that of the other task, by the same net.
      without: names of the parts, at any depth, that do not count; what both trees must have is the rest.
      normalised: True for the second form.

    Returns:
      0 or more; lower is better.

    Raises:
      InputError: for trees that do not fit, one that is 0 throughout or holds what is not finite, or an option out of range.

    Reference:
      Huiyan Qi, Lechao Cheng, Jingjing Chen, Yue Yu, Xue Song, Zunlei Feng, Yu-Gang Jiang, "Transferability Estimation Based On
      Principal Gradient Expectation", 2022, arXiv:2211.16299. The text has a distance of normalised gradients, and the authors have
      released no code; the first form is that of a survey's.

    >>> one = {"conv": jnp.array([3.0, 0.0]), "classifier": jnp.ones(1)}
    >>> two = {"conv": jnp.array([0.0, 4.0]), "classifier": jnp.ones(2)}
    >>> round(pge_distance(one, two), 4), round(pge_distance(one, two, normalised=True), 4)  # 5 / 12 and the root of 2
    (0.4167, 1.4142)
    """
    check_option("normalised", normalised, lambda v: isinstance(v, bool), "True or False")
    check_option("without", without, lambda v: not isinstance(v, str), "a sequence of names")
    a, b = (_kept(tree, set(without)) for tree in (first, second))
    for name in [*a, *b]:
        shapes = [tree[name].shape if name in tree else "nothing" for tree in (a, b)]
        if shapes[0] != shapes[1]:
            raise InputError(f"gradient {name!r} is {shapes[0]} in the first and {shapes[1]} in the second: expected one shape")
    if not a:
        raise InputError(f"without={tuple(without)} leaves nothing of the gradients: expected names of some of their parts")
    x, y = (np.concatenate([tree[name].ravel() for name in a]) for tree in (a, b))
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    for which, length in zip(("first", "second"), lengths, strict=True):
        check_option(f"length of the {which} gradient", float(length), lambda v: 0 < v < np.inf, "a finite number above 0")
    if normalised:
        return float(np.linalg.norm(x / lengths[0] - y / lengths[1]))
    return float(np.linalg.norm(x - y) / (lengths[0] * lengths[1]))


def _kept(tree: Any, without: set[str]) -> dict[str, np.ndarray]:
    """The arrays by path, in float64, but those below a name that is left out."""
    return {name: np.asarray(x, np.float64) for name, x in by_path(tree).items() if not without & set(name.split("/"))}
