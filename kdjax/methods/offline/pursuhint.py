"""PURSUhInT: hints from where the teacher's layers cluster."""

from collections.abc import Callable, Sequence
from inspect import signature

from kdjax.core import check_option, pick
from kdjax.methods.offline.at import at_objective
from kdjax.methods.offline.fitnet import fitnet_objective
from kdjax.methods.offline.nst import nst_objective
from kdjax.methods.offline.vid import vid_objective
from kdjax.methods.recipes import Objective, combine, method_of

HINTS: dict[str, Callable[..., Objective]] = {
    "at": at_objective,
    "fitnet": fitnet_objective,
    "nst": nst_objective,
    "vid": vid_objective,
}


def pursuhint_objective(
    *, layers: Sequence[str] = (), hint: str | Callable[..., Objective] = "at", factor: float = 1.0
) -> Objective:
    """Any hint, between the ends of the student's stages and the hint points of the teacher.

    `evaluate.choose_hint_points` finds those: the centres of clusters of the teacher's blocks that see alike. `L_x` is the sum of
    the hints over points; the terms are named after the points.

    Args:
      layers: `"stage1=stage1_block3"`, ...: the student's map and the teacher's.
      hint: `"at"`, `"fitnet"`, `"nst"`, `"vid"`, or a function `(*, layers)` or `(*, layer)` that gives an Objective.
      factor: of the hint, which keeps its own weight.

    Raises:
      InputError: where no layers are given, or one twice.

    Reference: Keser et al., PURSUhInT: In Search of Informative Hint Points Based on Layer Clustering for Knowledge Distillation,
    Expert Systems with Applications 213, 2023 (arXiv 2103.00053).
    """
    accepted = "one pair or more, 'stage1=stage1_block3', with the points that evaluate.choose_hint_points finds"
    check_option("layers", tuple(layers), len, accepted)
    make = pick("hint", hint, HINTS) if isinstance(hint, str) else hint
    many = "layers" in signature(make).parameters
    return combine(*(_named(make(**({"layers": (pair,)} if many else {"layer": pair})), pair, factor) for pair in layers))


def _named(objective: Objective, pair: str, factor: float) -> Objective:
    """The same with the hint point in the names of its terms."""
    point = pair.split("=")[-1]

    def terms(seen, adapted):
        return {f"{name}_{point}": term for name, term in objective.terms(seen, adapted).items()}

    weights = {f"{name}_{point}": factor * weight for name, weight in objective.weights.items()}
    return objective._replace(terms=terms, weights=weights)


pursuhint = method_of(pursuhint_objective)
