"""Every method by name; a folder is a family, and says in its README who trains whom."""

from kdjax.methods.data_free import dafl
from kdjax.methods.mutual import dml
from kdjax.methods.offline import at, crd, fitnet, fitnet_hint, kd
from kdjax.methods.siamese import byol
from kdjax.methods.supervised import supervised

__all__ = ["at", "byol", "crd", "dafl", "dml", "fitnet", "fitnet_hint", "kd", "supervised"]
