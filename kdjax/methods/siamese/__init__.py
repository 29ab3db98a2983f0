"""Two views, two branches."""

from kdjax.methods.siamese._recipe import Siamese, siamese
from kdjax.methods.siamese.byol import byol

__all__ = ["Siamese", "byol", "siamese"]
