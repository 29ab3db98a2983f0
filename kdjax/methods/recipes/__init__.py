"""What methods are made of: objectives that can be summed, and the steps of one student and of views."""

from kdjax.methods.recipes._objective import Objective, Outputs, combine, labels_objective
from kdjax.methods.recipes._student import method_of, student
from kdjax.methods.recipes._teachers import each_teacher
from kdjax.methods.recipes._views import ViewOutputs, views

__all__ = ["Objective", "Outputs", "ViewOutputs", "combine", "each_teacher", "labels_objective", "method_of", "student", "views"]
