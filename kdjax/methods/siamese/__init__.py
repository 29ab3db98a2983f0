"""Two views, two branches."""

from kdjax.methods.siamese.byol import byol

__all__ = ["byol"]
