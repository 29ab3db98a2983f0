"""A student whose layers learn before all of it does."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from kdjax import methods
from kdjax.core import Method, skip_zero_gradients
from kdjax.experiment.student import StudentContext
from kdjax.train import Result, Stage


def after_hints(
    c: StudentContext,
    builder: Callable[..., Method],
    options: Mapping[str, Any],
    *,
    student: dict | None = None,
    any_classes: bool = False,
) -> dict[str, Stage]:
    """The student's layers learn from the teacher's; then all of it from labels alone, or beside the teacher.

    Args:
      c: what the stages are made from; where its method is `supervised` nobody teaches the second one.
      builder: of the first stage's method.
      options: of the first stage.
      student: specification of what is trained, where that is more than the student's own net.
      any_classes: whether the teacher may know other classes than the data has.
    """
    before, specification = c.first(builder, options), student or c.specification

    def hint(c: StudentContext) -> Method:
        teacher = c.teacher_of_any_classes if any_classes else c.teacher
        return builder(c.student, teacher, skip_zero_gradients(c.tx), **c.options)

    hints = before.stage(hint, student=specification)
    start = {"student": specification, "warm_start": _as_learner, "warm_start_from": before.name}
    if c.entry.method is not methods.supervised:
        return hints | c.stage(**start)
    network = {"network": specification}
    return hints | c.stage(lambda c: methods.supervised(c.student, c.tx, **c.options), alone=True, nets=network, **start)


def _as_learner(state: Any, result: Result, member: int) -> Any:
    found = {part: {**getattr(state.learner, part), "student": tree} for part, tree in _student_of(result, member).items()}
    return state._replace(learner=state.learner.replace(**found))


def _student_of(result: Result, member: int) -> dict[str, Any]:
    """`params` and `stats` of one member."""
    return {part: jax.tree.map(lambda x: x[member], tree) for part, tree in result.weights["student"].items()}
