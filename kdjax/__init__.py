"""kdjax: knowledge distillation, self-supervised bootstrapping and data-free distillation in JAX, as pure functions."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_PARTS = ("augment", "core", "data", "evaluate", "losses", "methods", "models", "train")


def __getattr__(name: str) -> Any:
    # Lazy: one loss in another project must not pay for the rest.
    if name in _PARTS:
        return import_module(f"kdjax.{name}")
    if name == "load":
        return import_module("kdjax.train.load").load
    raise AttributeError(f"module 'kdjax' has no attribute {name!r}")
