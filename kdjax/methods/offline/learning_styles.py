"""A teacher that gives each of two students what suits it, predictions or features, while they teach each other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Frozen, InputError, Learner, Method, Net, check_option
from kdjax.core.arrays import AxisName
from kdjax.core.images import inputs_of
from kdjax.methods.offline.fitnet import fitnet_objective
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective, Outputs, Student, combine, labels_objective
from kdjax.methods.recipes import student as one_student
from kdjax.models import last_stage


class Styles(NamedTuple):
    """Two students of one teacher.

    Attributes:
      peers: params and stats are `{"student": ..., "adapter": ...}`.
      given: the teacher's weights.
      step: optimisation steps done.
    """

    peers: tuple[Learner, Learner]
    given: dict[str, Frozen]
    step: jax.Array


def learning_styles(
    students: Sequence[Net],
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    style: str = "P/F/PF",
    label_weight: float = 1.0,
    weight: float = 1.0,
    exchange_weight: float = 1.0,
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
      tx: the optimiser, one state a student, that of its regressor too.
      style: such as `"P/P/P"`, all of one style, or `"P/F/-"`, without exchange: `kd` beside `fitnet`.
      label_weight: of the cross-entropy.
      weight: of what the teacher gives.
      exchange_weight: of what the other student gives.
      temperature: T, above 0.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over; what a student gives the other is of the whole batch.

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
            own, other = seen.student, seen.batch.get("peer", {})
            if word == "P":
                return {"exchange": losses.kl_distillation(own["logits"], other["logits"], temperature=temperature)}
            return {"exchange": losses.hint(own[last_stage(own)], other["features"])} if word == "F" else {}

        return Objective(terms, {"exchange": exchange_weight} if word != "-" else {})

    methods = [
        one_student(
            net, tx, combine(labels_objective(label_weight, optional=True), lessons[lesson](), exchange(word)), teacher=teacher,
            axis_name=axis_name, micro=micro,
        )
        for net, lesson, word in zip(students, taught, received, strict=True)
    ]  # fmt: skip

    def init(key, batch, given, **start):
        given, made = {"teacher": given["teacher"]}, []
        for k, (own, method) in enumerate(zip(jax.random.split(key), methods, strict=True)):
            begin = {"student": start[f"peer{k}"]} if f"peer{k}" in start else {}
            made.append(method.init(own, batch, given, **begin).learner)
        return Styles((made[0], made[1]), given, jnp.int32(0))

    def gives(net, learner, batch, key):
        """What a student gives the other: its logits, and its last map where it has one."""
        taps, _ = net.apply(learner.params["student"], learner.stats["student"], inputs_of(batch), train=True, key=key)
        return {"logits": taps["logits"]} | ({"features": taps[last_stage(taps)]} if "F" in exchanged else {})

    def step(state, batch, key):
        keys, learners, metrics = jax.random.split(key), [], {}
        seen = [gives(*each) for each in zip(students, state.peers, (batch, batch), keys, strict=True)] if exchanged != "-" else []
        for k, method in enumerate(methods):
            rows = batch | ({"peer": seen[1 - k]} if seen else {})
            new, logged = method.step(Student(state.peers[k], state.given, state.step), rows, keys[k])
            learners.append(new.learner)
            metrics |= {f"peer{k}_{name}": value for name, value in logged.items()}
        return Styles((learners[0], learners[1]), state.given, state.step + 1), metrics

    def alone(state, k):
        return Student(state.peers[k], state.given, state.step)

    def predict(state, inputs):
        first, second = (method.predict(alone(state, k), inputs) for k, method in enumerate(methods))
        return {"peer0": first["student"], "peer1": second["student"], "teacher": first["teacher"]}

    def weights(state):
        first, second = (method.weights(alone(state, k)) for k, method in enumerate(methods))
        return {"peer0": first["student"], "peer1": second["student"], "teacher": first["teacher"]}

    return Method(init, step, predict, weights, ("teacher",))


def _is_style(parts: Sequence[str]) -> bool:
    lessons = ("P", "F", "-")
    return len(parts) == 3 and all(p in lessons for p in parts[:2]) and parts[2] in (*lessons, "PF", "FP")
