"""What methods are made of: objectives that can be summed, and the steps of one student and of views."""

from kdjax.methods.recipes._mixing import mixed
from kdjax.methods.recipes._objective import (
    Objective,
    Outputs,
    adapters_of,
    classifier_of,
    combine,
    labels_objective,
    paired_names,
    pairs,
    several,
    tap,
)
from kdjax.methods.recipes._peers import PeerOutputs, Peers, peers
from kdjax.methods.recipes._rotations import four_rotations, joint_exits, joint_labels_term
from kdjax.methods.recipes._student import Student, method_of, student
from kdjax.methods.recipes._teachers import each_teacher
from kdjax.methods.recipes._views import ViewOutputs, views

__all__ = [
    "Objective", "Outputs", "PeerOutputs", "Peers", "Student", "ViewOutputs", "adapters_of", "classifier_of", "combine",
    "each_teacher", "four_rotations", "joint_exits", "joint_labels_term", "labels_objective", "method_of", "mixed",
    "paired_names", "pairs", "peers", "several", "student", "tap", "views",
]  # fmt: skip
