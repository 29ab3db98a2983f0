"""A teacher without its data."""

from kdjax.methods.data_free._recipe import DataFree, data_free
from kdjax.methods.data_free.dafl import dafl

__all__ = ["DataFree", "dafl", "data_free"]
