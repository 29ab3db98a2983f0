"""What a network is asked for, in parts that can be summed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import Frozen, InputError, Net, check_option, masked_loss
from kdjax.core.arrays import AxisName
from kdjax.core.node import Node, static
from kdjax.models import last_stage, stage_names


class Outputs(Node):
    """What an objective sees of one batch.

    Attributes:
      student: the student's taps, in training mode, and those of the objective's heads.
      teacher: the teacher's taps, in evaluation mode.
      given: the weights that come from outside, `{"teacher": Frozen, ...}`.
      batch: the batch itself.
      key: for what is drawn, another one for each step.
      step: optimisation steps done, int32.
      params: the student's parameters, for terms of them (the way back to where it started, Fisher information).
      partner: the student's own taps, in training mode and without gradient, on the images `"partner"` of the batch; empty where it
        has none.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """

    student: dict[str, jax.Array]
    teacher: dict[str, jax.Array]
    given: dict[str, Frozen]
    batch: dict[str, Any]
    key: jax.Array
    step: jax.Array
    axis_name: AxisName = static(default=None)
    params: Any = field(default_factory=dict)
    partner: dict[str, jax.Array] = field(default_factory=dict)


class Objective(NamedTuple):
    """Loss terms, and the layers they need between the two networks.

    Attributes:
      terms: `(seen, adapted) -> {name: term}`, terms as in `core.weighted_sum`: `[B]`, `[B, T]` of positions, or a
        scalar where rows see each other.
      weights: factors of the terms by name, numbers or functions of the step.
      adapter: a Net of `Outputs`, trained with the student and not shipped; its taps are `adapted`, its stats are kept from step
        to step (batch norm, banks). None: `adapted` is empty.
      needs: the names in `given`.
      sees: `batch -> batch`, the rows that the student sees, where these are others than those of the batch: both views of each
        image, or the anchors of pairs with the others as `"partner"`. None: the batch as it is.
      heads: a Net of the student's taps (`models.exits`), trained with it and not shipped, whose taps stand beside the student's
        own, in evaluation too. None: there are none.
    """

    terms: Callable[[Outputs, dict[str, jax.Array]], Mapping[str, Any]]
    weights: Mapping[str, Any]
    adapter: Net | None = None
    needs: tuple[str, ...] = ("teacher",)
    sees: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    heads: Net | None = None


def combine(*objectives: Objective) -> Objective:
    """The sum of objectives: all terms, each adapter for itself.

    Raises:
      InputError: when two of them have a term of one name or heads, or see other rows of a batch.
    """
    names = [name for one in objectives for name in one.weights]
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise InputError(f"two objectives have a term {twice[0]!r}: expected every term once")
    sees = list(dict.fromkeys(one.sees for one in objectives if one.sees))
    if len(sees) > 1:
        wanted = " and ".join(one.__name__.replace("_", " ") for one in sees)
        raise InputError(
            f"two objectives want other rows of a batch, {wanted}: expected one at most that does not take it as it is"
        )
    heads = [one.heads for one in objectives if one.heads]
    if len(heads) > 1:
        raise InputError(f"{len(heads)} objectives have heads behind the stages of the network: expected one at most")
    adapter = adapters_of(objectives)

    def terms(seen, adapted):
        return {name: term for k, one in enumerate(objectives) for name, term in one.terms(seen, adapted.get(f"{k}", {})).items()}

    weights = {name: weight for one in objectives for name, weight in one.weights.items()}
    needs = tuple(dict.fromkeys(name for one in objectives for name in one.needs))
    return Objective(terms, weights, adapter, needs, next(iter(sees), None), next(iter(heads), None))


def adapters_of(objectives: Sequence[Objective], look: Callable[[Any, int], Any] = lambda seen, k: seen) -> Net | None:
    """The adapters of objectives as one Net, whose taps are theirs by the number of the objective, `{"0": {...}, ...}`.

    Args:
      objectives: some.
      look: `(input of the Net, k) -> ` what the adapter of objective k sees of it.

    Returns:
      The Net, or None where no objective has an adapter.
    """
    adapters = {f"{k}": one.adapter for k, one in enumerate(objectives) if one.adapter}

    def init(key, seen):
        made = {k: net.init(jax.random.fold_in(key, int(k)), look(seen, int(k))) for k, net in adapters.items()}
        return {k: params for k, (params, _) in made.items()}, {k: stats for k, (_, stats) in made.items()}

    def apply(params, stats, seen, *, train, key=None):
        found = {k: net.apply(params[k], stats[k], look(seen, int(k)), train=train, key=key) for k, net in adapters.items()}
        return {k: taps for k, (taps, _) in found.items()}, {k: new for k, (_, new) in found.items()}

    return Net(init, apply) if adapters else None


def labels_objective(weight: Any = 1.0, *, tap: str = "logits", smoothing: float = 0.0, optional: bool = False) -> Objective:
    """The cross-entropy with the labels; rows or positions with a negative label do not count, floats are distributions.

    Args:
      weight: of the term.
      tap: the student's logits.
      smoothing: probability mass spread over all classes.
      optional: whether a batch may be without labels; the term is then 0.
    """
    check_option("smoothing", smoothing, lambda s: 0 <= s < 1, "a number from 0 to below 1")

    def terms(seen, adapted):
        if optional and "label" not in seen.batch:
            if "labels" in seen.batch or "y" in seen.batch:
                raise InputError(f"the batch has no 'label' but {', '.join(seen.batch)}: expected its labels as 'label'")
            return {"cross_entropy": jnp.zeros(seen.student[tap].shape[:-1])}
        return {"cross_entropy": masked_loss(losses.cross_entropy, seen.student[tap], seen.batch, smoothing=smoothing)}

    return Objective(terms, {"cross_entropy": weight}, needs=())


def pairs(seen: Outputs, layers: Sequence[str] = (), *, suffix: str = "") -> list[tuple[jax.Array, jax.Array]]:
    """The maps of both networks that an objective compares: `[(student's, teacher's), ...]`, in order.

    Args:
      seen: the taps.
      layers: `"stage2"` for the tap of this name on both sides, `"stage2=stage3_block4"` where the teacher's has another, `""` for
        the end of the last stage; empty: the ends of all stages.
      suffix: put behind all names, as `"_preact"`.

    Raises:
      InputError: for a tap that is not there, or unequal numbers of stages.
    """
    named = paired_names(seen, layers)
    return [(tap("student", seen.student, a + suffix), tap("teacher", seen.teacher, b + suffix)) for a, b in named]


def paired_names(seen: Outputs, layers: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The names of those maps, without the suffix: `[(student's, teacher's), ...]`."""
    if layers:
        both = [(layer.split("=")[0], layer.split("=")[-1]) for layer in layers]
        return [(a or last_stage(seen.student), b or last_stage(seen.teacher)) for a, b in both]
    sides = [stage_names(taps) for taps in (seen.student, seen.teacher)]
    if len(sides[0]) != len(sides[1]) or not sides[0]:
        found = " and ".join(f"the {who}'s {', '.join(side) or 'none'}" for who, side in zip(_SIDES, sides, strict=True))
        advice = "let each teacher have a loss of its own" if several(seen.teacher) else "give layers=('stage1=stage2', ...)"
        raise InputError(f"layers=() takes all stages, but they are not equally many: {found}; {advice}")
    return list(zip(*sides, strict=True))


_SIDES = ("student", "teacher")


def tap(side: str, taps: Mapping[str, jax.Array], name: str) -> jax.Array:
    """One tap of the `"student"` or the `"teacher"`, or one line that names those it has."""
    if name not in taps:
        shown = ", ".join(sorted(n for n in taps if not n.startswith("norm/")))
        advice = "; let each teacher have a loss of its own" if several(taps) else ""
        raise InputError(f"tap {name!r} is not one of the {side}'s; it has {shown}{advice}")
    return taps[name]


def several(taps: Mapping[str, jax.Array]) -> bool:
    """Whether taps are those of an ensemble, `models.ensemble`."""
    return any(name.startswith("teacher0/") for name in taps)


def classifier_of(params: Any, side: str = "teacher") -> dict[str, jax.Array]:
    """A network's own linear layer, `{"kernel": [C, K], "bias": [K]}`.

    Args:
      params: of the network.
      side: whose they are, for the message.

    Raises:
      InputError: where they have no `"classifier"`.
    """
    layer = params.get("classifier") if isinstance(params, Mapping) else None
    if not isinstance(layer, Mapping) or set(layer) != {"kernel", "bias"}:
        raise InputError(f"the {side} has no linear layer 'classifier': expected a classifier of kdjax.models")
    return dict(layer)
