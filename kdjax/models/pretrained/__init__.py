"""Weights in files: kdjax's own, and those of PyTorch nets by explicit name maps."""

from kdjax.models.pretrained.convert import from_pytorch, to_pytorch
from kdjax.models.pretrained.weights import WeightFile, nested, read_weights, write_weights

__all__ = ["WeightFile", "from_pytorch", "nested", "read_weights", "to_pytorch", "write_weights"]
