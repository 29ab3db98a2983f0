"""What the stages of a student are made from: its teacher, its images and views, its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdjax import models
from kdjax.core import Frozen, InputError, Method, Net
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.data import weak_and_strong
from kdjax.experiment.sections import swept
from kdjax.experiment.teacher_cache import teacher_cache
from kdjax.experiment.teaching import Teaching
from kdjax.train import Stage


@dataclass(frozen=True, kw_only=True)
class StudentContext(ClassifierContext):
    """What a student is taught from.

    Attributes:
      teaching: its teacher.
      trained: specification of what is trained, where that is more than the student's own net.
      intermediate: whether the stage is one on the way to the student's.
    """

    teaching: Teaching
    trained: dict | None = None
    intermediate: bool = False

    @property
    def student(self) -> Net:
        """What is trained."""
        return self.trained_net(self.trained or self.specification)

    @property
    def teacher(self) -> Net:
        """The teacher, which tells the classes of the data apart."""
        self.teaching.check_classes(self.dataset.classes)
        return self.teaching.net

    @property
    def teacher_or_encoder(self) -> Net:
        """The same, or an encoder without classes: for an objective, which refuses it where it asks for them."""
        return self.teaching.net if [classes for _, classes in self.teaching.classes] == [0] else self.teacher

    @property
    def teacher_of_any_classes(self) -> Net:
        """The teacher, which may know other classes than the data has, or none."""
        return self.teaching.net

    def weak_and_strong(self) -> Callable:
        """The augmentation that adds a weak and a strong view."""
        return weak_and_strong(self.config.data, self.dataset, *self.erased)

    def branches(self, net: dict) -> Net:
        """Branches behind the stages of a net."""
        return models.branches(net, axis_name=self.axis_name)

    def bridge(self, net: dict) -> Net:
        """A last stage of its own behind the others of a net."""
        return models.bridge(net, axis_name=self.axis_name)

    def taught_by(self, net: Net, given: Callable[[dict], dict[str, Frozen]]) -> "StudentContext":
        """The same with another teacher, whose weights come from an earlier stage."""
        return replace(self, teaching=self.teaching._replace(net=net, given=given, classes=()))

    def first(self, builder: Callable[..., Method], options: Mapping[str, Any], make: Callable | None = None) -> "StudentContext":
        """What a stage before this one is made from, on the way to it; without a `make` it is the student beside its teacher."""
        return replace(super().first(builder, options, make or beside_teacher), intermediate=True)

    def stage(
        self,
        make: Callable[..., Any] | None = None,
        *,
        student: dict | None = None,
        given: Callable[[dict], dict[str, Frozen]] | None = None,
        alone: bool = False,
        cached: bool = True,
        **fields: Any,
    ) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`, or `c -> (Method, augmentation)`; None: that of the entry.
          student: specification of what is trained, where that is more than the student's own net.
          given: weights that come from earlier stages; None: those of the teacher.
          alone: whether nobody teaches it.
          cached: whether the teacher's outputs may be computed once.
          **fields: others of `Stage` than those of all classifiers.
        """
        views = self.config.cache.views if "cache" in self.config else 0
        if views and not cached:
            why = f"{self.method} asks a teacher about other images than those of a batch or all its maps, or another teacher"
            raise InputError(f"--config.cache.views={views} is not accepted: {why}; expected 0")
        c = replace(self, trained=student or self.trained)
        usual: dict[str, Any] = {"nets": {"student": c.trained or c.specification}}
        if not alone:
            usual["given"] = given or self.teaching.given
            if views:
                also = " ".join(f"{word} {dict(own)}" for word, own in self.words.items())
                specification = self.teaching.specification
                usual["teacher_cache"] = teacher_cache(self.config, self.dataset, self.teaching.net, specification, also=also)
        if self.intermediate:
            usual |= {"intermediate": True, "evaluate": _nothing}
        else:
            usual["grid"] = swept(self.config.sweep, self.settings)
        return ClassifierContext.stage(c, make, **(usual | fields))


def beside_teacher(c: StudentContext) -> Method:
    """The usual method: a student beside its teacher."""
    teacher = c.teacher_or_encoder if hasattr(c.entry.method, "objective") else c.teacher
    return c.entry.method(c.student, teacher, c.tx, **c.options)


def _nothing(collect, split, final):
    """What is measured of a network on the way to another."""
    return {}
