"""Training from labels alone."""

from kdjax.methods.supervised.supervised import Supervised, supervised

__all__ = ["Supervised", "supervised"]
