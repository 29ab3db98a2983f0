"""Batches with the same number of rows from every domain."""

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import DOMAINS, Sampler, endless


def domains(domains: np.ndarray, batch: int) -> Sampler:
    """Takes the same number of rows from each of S domains in every step.

    Row k of a step is of domain `k % S`, so every share of a multiple of S rows is balanced, and an array `[B, ...]`
    reshaped to `[B / S, S, ...]` has an axis of domains. Each domain goes through epochs of its own, in which every one of
    its rows comes once; a small domain is gone through more often than a large one.

    Args:
      domains: the domain of every row of the set, integers `[N]`, 0 to S - 1 with none left out.
      batch: rows a step, a multiple of S.

    Returns:
      A Sampler with groups of S. Its epochs are those of the smallest domain.

    Raises:
      InputError: for a domain without rows, a row without domain, or a batch that cannot be shared out.

    >>> of_row = np.array([0, 0, 0, 1, 1, 0])
    >>> of_row[domains(of_row, batch=4).rows(0, 0)].tolist()
    [0, 1, 0, 1]
    """
    domains = np.asarray(domains)
    if domains.ndim != 1 or not domains.size or domains.dtype.kind not in "iu":
        raise InputError(f"domains have shape {domains.shape} and dtype {domains.dtype}: expected an integer for each row, [N]")
    if domains.min() < 0:
        raise InputError(f"domains hold {domains.min()}: expected integers from 0, one for each row")
    members = [np.flatnonzero(domains == d).astype(np.int32) for d in range(int(domains.max()) + 1)]
    for number, own in enumerate(members):
        if not len(own):
            raise InputError(f"domain {number} has no row: expected 1 or more in each of the domains 0 to {len(members) - 1}")
    count = len(members)
    check_option("batch", batch, lambda b: b >= 1 and b % count == 0, f"a multiple of {count}, the number of domains")
    each = batch // count

    def rows(seed, step):
        parts = [m[endless(seed, step * each, each, len(m), DOMAINS, d)] for d, m in enumerate(members)]
        return np.stack(parts, axis=1).reshape(-1)

    smallest = min(map(len, members))
    return Sampler(rows, lambda step: int(step * each // smallest), batch, count)
