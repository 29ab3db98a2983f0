"""kdjax: knowledge distillation, self-supervised bootstrapping and data-free distillation in JAX, as pure functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdjax import augment, core, data, evaluate, losses, methods, models, train
    from kdjax.train.load import load

__version__ = "0.1.0"
__all__ = ["augment", "core", "data", "evaluate", "load", "losses", "methods", "models", "train"]


if not TYPE_CHECKING:  # to a type checker every name would be one that is there

    def __getattr__(name: str) -> Any:
        # Lazy: one loss in another project must not pay for the rest.
        if name == "load":
            return import_module("kdjax.train.load").load
        if name in __all__:
            return import_module(f"kdjax.{name}")
        raise AttributeError(f"module 'kdjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
