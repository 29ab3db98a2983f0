"""A teacher that gives each of two students what suits it, predictions or features, while they teach each other."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_option
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.offline.fitnet import fitnet_objective
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective, Outputs, PeerOutputs, adapters_of, combine, labels_objective
from kdjax.methods.recipes import peers as side_by_side
from kdjax.models import last_stage


def learning_styles(
    students: Sequence[Net],
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    style: str = "P/F/PF",
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    exchange_weight: Weight = 1.0,
    temperature: float = 2.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Two students, one taught by predictions and the other by features, which exchange what they know as they learn.

    A style has three parts: what the teacher gives to the first student, what to the second, and what they give each other; P are
    predictions, F features, - is nothing. PF as the last part: the first gives predictions and receives features. Student i has

    `L_i = label_weight CE(z_i, y) + weight L_teacher + exchange_weight L_exchange`,

    of predictions `T^2 KL(softmax(z / T) || softmax(z_i / T))` as in `kd`; of the teacher's features `mean (r(f_i) - f)^2` as in
    `fitnet`, at the end of the last stage; of the other student's features `mean (f_i - f_j)^2`. No gradient flows into what is
    received, and both move at once. The first student is the one that is shipped alone.

    The idea and the mixed styles are the paper's, of whose text only abstracts were at hand: losses and weights are a
    reconstruction, and no number of the paper is claimed.

    Args:
      students: two nets, with last maps of one shape where they exchange features.
      teacher: the frozen net behind `given["teacher"]`.
      tx: the optimiser, one state a student and one of the regressors in front of the teacher's features.
      style: such as `"P/P/P"`, all of one style, or `"P/F/-"`, without exchange: `kd` beside `fitnet`.
      label_weight: of the cross-entropy.
      weight: of what the teacher gives.
      exchange_weight: of what the other student gives.
      temperature: T, above 0.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; all nets give `"logits"`, for features the end of their last stage. Its
      networks are `"peer0"`, `"peer1"` and `"teacher"`; beside them stand the regressors, `"adapter"`.

    Reference: Niyaz, Sambyal and Bathula, Leveraging Different Learning Styles for Improved Knowledge Distillation, 2022 (arXiv
    2212.02931).
    """
    accepted = "<teacher to the first>/<to the second>/<to each other>, P, F or - each, the last one PF or FP too"
    check_option("style", style, lambda s: _is_style(s.split("/")), accepted)
    if len(students) != 2:
        raise InputError(f"students={len(students)} is not accepted: expected 2 networks")
    *taught, exchanged = style.split("/")
    received = (2 * exchanged)[:2][::-1]
    lessons = {
        "P": lambda: kd_objective(weight=weight, temperature=temperature),
        "F": lambda: fitnet_objective(weight=weight, layer=""),
        "-": lambda: Objective(lambda seen, adapted: {}, {}),
    }

    def exchange(word: str) -> Objective:
        def terms(seen: Outputs, adapted: Any):
            own, other = seen.student, seen.batch["peer"]
            if word == "P":
                return {"exchange": losses.kl_distillation(own["logits"], other["logits"], temperature=temperature)}
            return {"exchange": losses.hint(own[last_stage(own)], other[last_stage(other)])} if word == "F" else {}

        return Objective(terms, {"exchange": exchange_weight} if word != "-" else {})

    objectives = [
        combine(labels_objective(label_weight, optional=True), lessons[lesson](), exchange(word))
        for lesson, word in zip(taught, received, strict=True)
    ]

    def objective(seen: PeerOutputs, k: int):
        batch = {**seen.batch, "peer": seen.peers[1 - k]}
        own = Outputs(seen.peers[k], seen.teacher, {}, batch, seen.key, seen.step, axis_name)
        return objectives[k].terms(own, seen.adapted.get(f"{k}", {}))

    def look(taps: Sequence[dict[str, jax.Array]], k: int) -> Outputs:
        """What a regressor sees: the taps of its student and of the teacher, which are the last."""
        return Outputs(taps[k], taps[-1], {}, {}, jax.random.key(0), jnp.int32(0), axis_name)

    return side_by_side(
        students, tx, objective, weights={name: w for one in objectives for name, w in one.weights.items()}, teacher=teacher,
        adapter=adapters_of(objectives, look), axis_name=axis_name, micro=micro,
    )  # fmt: skip


def _is_style(parts: Sequence[str]) -> bool:
    lessons = ("P", "F", "-")
    return len(parts) == 3 and all(p in lessons for p in parts[:2]) and parts[2] in (*lessons, "PF", "FP")
