"""A frozen teacher, one student."""

from kdjax.methods.offline._recipe import Offline, offline
from kdjax.methods.offline.kd import kd

__all__ = ["Offline", "kd", "offline"]
