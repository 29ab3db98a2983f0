"""Training from labels alone."""

from kdjax.methods.supervised.supervised import supervised

__all__ = ["supervised"]
