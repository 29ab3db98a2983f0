"""Several teachers, a stream each."""

from collections.abc import Sequence
from typing import Any

from kdjax.core import Frozen, Net
from kdjax.core.net import NORM
from kdjax.methods.recipes._objective import Objective, Outputs, combine
from kdjax.models import normalised_weights


def each_teacher(objective: Objective, count: int, *, weights: Sequence[float] | None = None) -> Objective:
    """The weighted mean of an objective over teachers, each seen through its own taps and weights and its own adapter.

    The teacher behind it is a `models.ensemble`; terms are named `<term>_teacher<k>`.

    Args:
      objective: of one teacher.
      count: how many teachers there are.
      weights: a number of at least 0 for each, of which shares are made; None: equal shares.
    """
    return combine(*(_of(objective, k, share) for k, share in enumerate(normalised_weights(count, weights))))


def _of(objective: Objective, k: int, share: float) -> Objective:
    adapter = objective.adapter

    def terms(seen, adapted):
        return {f"{name}_teacher{k}": term for name, term in objective.terms(_look(seen, k), adapted).items()}

    def init(key, seen):
        assert adapter is not None
        return adapter.init(key, _look(seen, k))

    def apply(params, stats, seen, *, train, key=None):
        assert adapter is not None
        return adapter.apply(params, stats, _look(seen, k), train=train, key=key)

    def shared(weight: Any) -> Any:
        return weight * share if not callable(weight) else lambda step: share * weight(step)  # type: ignore[operator]

    weights = {f"{name}_teacher{k}": shared(weight) for name, weight in objective.weights.items()}
    return Objective(terms, weights, Net(init, apply) if adapter else None, objective.needs)


def _look(seen: Outputs, k: int) -> Outputs:
    """The batch with teacher k as the only one."""
    own, norm, all_of = f"teacher{k}/", f"{NORM}teacher{k}/", seen.given["teacher"]
    taps = {name.removeprefix(own): x for name, x in seen.teacher.items() if name.startswith(own)}
    taps |= {NORM + name.removeprefix(norm): x for name, x in seen.teacher.items() if name.startswith(norm)}
    return seen.replace(teacher=taps, given={**seen.given, "teacher": Frozen(all_of.params[k], all_of.stats[k], all_of.source)})
