"""A frozen teacher, one student."""

from kdjax.methods.offline._objective import Objective, Seen, add, labels_objective
from kdjax.methods.offline._recipe import Offline, method_of, offline
from kdjax.methods.offline.at import at, at_objective
from kdjax.methods.offline.crd import crd, crd_objective
from kdjax.methods.offline.fitnet import fitnet, fitnet_hint, fitnet_objective
from kdjax.methods.offline.kd import kd, kd_objective

__all__ = [
    "Objective", "Offline", "Seen", "add", "at", "at_objective", "crd", "crd_objective", "fitnet", "fitnet_hint",
    "fitnet_objective", "kd", "kd_objective", "labels_objective", "method_of", "offline",
]  # fmt: skip
