"""How well a trained network would serve another task, told without training: from one pass over the task's labelled images."""

from typing import Any

import numpy as np

from kdjax.core.check import InputError, check_option

_ABSENT = 1e-7  # directions whose singular value is below this part of the largest do not count
_EPSILON = 1e-5  # of LogME's two divisions


def leep(probabilities: Any, labels: Any) -> float:
    """The log expected empirical prediction: how well the classes of the source, as the net gives them, tell the new labels.

        mean over n of  log sum_z P(y_n | z) theta_z(x_n)
        P(y, z) = mean over n of  theta_z(x_n) [y_n = y],   P(y | z) = P(y, z) / sum_y P(y, z)

    theta(x) are the probabilities of the source's own classifier. The labels go into P(y | z) and are then predicted by it, so
    that more source classes give more, and as many of them as there are images anything.

    Args:
      probabilities: `[N, Z]`, of the source's Z classes, on images of the new task; each row sums to 1.
      labels: class numbers of the new task, integers `[N]`, 0 or more.

    Returns:
      Nats, 0 or less; higher is better.

    Raises:
      InputError: for other shapes, rows that are no probabilities (such as logits), or labels that are no class numbers.

    Reference:
      Cuong V. Nguyen, Tal Hassner, Matthias Seeger, Cedric Archambeau, "LEEP: A New Measure to Evaluate Transferability of Learned
      Representations", ICML 2020, arXiv:2002.12462.

    >>> round(leep([[0.9, 0.1], [0.1, 0.9]], [0, 1]), 4)  # 0.9 of 0.9 and 0.1 of 0.1
    -0.1985
    """
    theta, found = _rows(probabilities, "probabilities", "N, Z"), _classes(labels)
    _same_rows(theta, found, "probabilities")
    if theta.min() < 0 or np.abs(theta.sum(1) - 1).max() > 0.02:
        raise InputError("probabilities are not accepted: expected rows of numbers of at least 0 that sum to 1")
    joint = _sums(theta, found)  # [Y, Z]
    whole = joint.sum(0)
    given = joint / np.where(whole > 0, whole, 1.0)
    return float(np.mean(np.log(np.sum(given[found] * theta, axis=1))))


def negative_conditional_entropy(source: Any, labels: Any) -> float:
    """Minus the entropy of the new labels that is left when the source's class is known: NCE.

        sum over z, y of  P(y, z) log P(y | z)

    Args:
      source: the source's class of every image, integers `[N]`: true ones, or those its classifier decides for.
      labels: class numbers of the new task, integers `[N]`, 0 or more.

    Returns:
      Nats, 0 or less; higher is better.

    Raises:
      InputError: for other shapes, or what is no class number.

    Reference:
      Anh T. Tran, Cuong V. Nguyen, Tal Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019,
      arXiv:1908.08142.

    >>> round(negative_conditional_entropy([0, 0, 1, 1], [0, 0, 0, 1]), 4)  # of half of the images half a bit, log 2, is left
    -0.3466
    """
    z, y = _classes(source, "source"), _classes(labels)
    _same_rows(z, y, "source")
    joint = _sums(np.eye(z.max() + 1)[z], y) / len(y)
    some = joint > 0
    return float(np.sum(joint[some] * np.log((joint / np.where(some, joint.sum(0), 1.0))[some])))


def h_score(features: Any, labels: Any, *, regularised: bool = False) -> float:
    """How much of the spread of the features lies between the classes, a direction of the features counting 1 whatever its length.

        trace(cov(f)^-1 cov(E[f | y])),   covariances over N - 1

    It is computed from an orthonormal basis of the centred features: no matrix is inverted, and the result lies between 0 and the
    number of classes minus one. Directions that are absent (dead channels, sums of others) do not count; with as many directions
    as rows any labels look perfect, which is what the regularised form is for:

        (1 - a) trace(S_a^-1 cov(E[f | y])),   S_a = (1 - a) S + a (trace S / D) I,   S over N

    with the shrinkage a of Ledoit and Wolf.

    Args:
      features: `[N, D]`.
      labels: class numbers, integers `[N]`, 0 or more.
      regularised: True for the second form.

    Returns:
      0 or more; higher is better. 0 where all rows are equal.

    Raises:
      InputError: for other shapes, numbers that are not finite, fewer than two rows, or labels that are no class numbers.

    Reference:
      Yajie Bao, Yang Li, Shao-Lun Huang, Lin Zhang, Lizhong Zheng, Amir Zamir, Leonidas Guibas, "An Information-Theoretic Approach
      to Transferability in Task Transfer Learning", ICIP 2019; the regularised form: Shibal Ibrahim, Natalia Ponomareva, Rahul
      Mazumder, "Newer is not always better: Rethinking transferability metrics, their peculiarities, stability and performance",
      ECML PKDD 2022, arXiv:2110.06893.

    >>> round(h_score([[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]], [0, 0, 1, 1]), 4)  # one direction tells all
    1.0
    """
    check_option("regularised", regularised, lambda v: isinstance(v, bool), "True or False")
    x, y = _both(features, labels)
    rows, width = x.shape
    x = x - x[:1]  # a channel that never changes is now exactly 0
    x = x - x.mean(0)
    basis, s, _ = np.linalg.svd(x, full_matrices=False)
    counts = np.bincount(y)
    between = np.sum(_sums(basis, y) ** 2 / counts[:, None], axis=0)  # of each direction, a part of 1
    if not regularised:
        return float(between[s > _ABSENT * s[0]].sum())
    variances = s**2 / rows
    scale = variances.sum() / width
    a = _shrinkage(x, variances, scale)
    shrunk = (1 - a) * variances + a * scale
    return float((1 - a) * np.sum(np.where(s > 0, between * s**2 / (rows - 1) / np.where(s > 0, shrunk, 1.0), 0.0)))


def log_me(features: Any, labels: Any, *, tolerance: float = 0.01, iterations: int = 11) -> float:
    """The log of the maximum evidence of linear regression from the features to each class, 1 for its images and 0 for others.

        mean over classes of  max over alpha, beta of  log p(y | f, alpha, beta) / N,
        p(y | f, alpha, beta) = integral over w of  Normal(y; f w, 1 / beta) Normal(w; 0, 1 / alpha)

    The features are neither centred nor is there a bias. From alpha = beta = 1 on, each iteration sets the mean of w, then
    alpha = gamma / |w|^2 and beta = (N - gamma) / |y - f w|^2, gamma being the number of directions that are determined.

    Args:
      features: `[N, D]`.
      labels: class numbers, integers `[N]`, 0 or more; those that occur count.
      tolerance: it ends when alpha / beta changes by less than this part of itself. The authors' value leaves the third or fourth
        digit open.
      iterations: the most, 1 or more.

    Returns:
      Nats a row; higher is better. It may be above 0: this is the log of a density.

    Raises:
      InputError: for other shapes, numbers that are not finite, fewer than two rows, labels that are no class numbers, or options
        out of range.

    Reference:
      Kaichao You, Yong Liu, Jianmin Wang, Mingsheng Long, "LogME: Practical Assessment of Pre-trained Models for Transfer
      Learning", ICML 2021, arXiv:2102.11005, and the authors' code of it (a later one iterates in another way). That counts numbers
      below the largest label as classes also where none of their images is there.

    >>> told, random = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    >>> log_me(told, [0, 0, 1, 1]) > log_me(random, [0, 0, 1, 1])
    True
    """
    check_option("tolerance", tolerance, lambda t: t >= 0, "0 or more")
    check_option("iterations", iterations, lambda n: n >= 1, "1 or more")
    x, y = _both(features, labels)
    basis, s, _ = np.linalg.svd(x, full_matrices=False)
    return float(np.mean([_evidence(basis, s, 1.0 * (y == c), tolerance, iterations)[0] for c in range(y.max() + 1)]))


def _evidence(basis, s, target, tolerance, iterations):
    """Evidence a row, alpha and beta, from the left singular vectors and singular values of the features."""
    rows, basis, s = len(target), basis[:, s > 0], s[s > 0]
    squares, along = s**2, basis.T @ target
    beyond = np.sum((target - basis @ along) ** 2)  # what no weights reach
    alpha = beta = ratio = 1.0
    for _ in range(iterations):
        told = squares / (squares + ratio)  # how far each direction is determined
        weights = beta * s * along / (alpha + beta * squares)
        size = np.sum(weights**2) + _EPSILON
        error = beyond + np.sum((along - s * weights) ** 2) + _EPSILON
        # N - gamma by what is left open, which also counts where all directions are determined to the last digit.
        alpha, beta = np.sum(told) / size, (rows - len(s) + np.sum(ratio / (squares + ratio))) / error
        old, ratio = ratio, alpha / beta
        if abs(ratio - old) < tolerance * old:
            break
    whole = np.sum(np.log(alpha / (alpha + beta * squares))) - alpha * size - beta * error + rows * np.log(beta / (2 * np.pi))
    return whole / (2 * rows), alpha, beta


def _shrinkage(x, variances, scale):
    """Ledoit and Wolf's part of the multiple of the identity, from centred rows and the variances along their directions."""
    rows, width = x.shape
    apart = np.sum(variances**2) - width * scale**2
    noise = (np.sum(np.sum(x**2, axis=1) ** 2) / rows - np.sum(variances**2)) / rows
    return float(min(max(noise, 0.0) / apart, 1.0)) if apart > 0 else 0.0


def _sums(x, groups):
    """The sums `[G, D]` of the rows of each group."""
    out = np.zeros((groups.max() + 1, x.shape[1]))
    np.add.at(out, groups, x)
    return out


def _both(features, labels):
    x, y = _rows(features, "features", "N, D"), _classes(labels)
    _same_rows(x, y, "features")
    if len(x) < 2:
        raise InputError(f"features of shape {x.shape} are not accepted: expected 2 rows or more")
    return x, y


def _rows(x, name, layout):
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not x.size:
        raise InputError(f"{name} of shape {x.shape} are not accepted: expected [{layout}]")
    if not np.isfinite(x).all():
        raise InputError(f"{name} are not accepted: row {np.argmin(np.isfinite(x).all(1))} holds a number that is not finite")
    return x


def _classes(labels, name="labels"):
    """Class numbers without gaps."""
    y = np.asarray(labels)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or not y.size or y.min() < 0:
        raise InputError(f"{name} of shape {y.shape} and type {y.dtype} are not accepted: expected class numbers of 0 or more, [N]")
    return np.unique(y, return_inverse=True)[1]


def _same_rows(x, y, name):
    if len(x) != len(y):
        raise InputError(f"{name} have {len(x)} rows and labels {len(y)}: expected as many")
