"""Peers without a teacher."""

from kdjax.methods.mutual.dml import Mutual, dml

__all__ = ["Mutual", "dml"]
