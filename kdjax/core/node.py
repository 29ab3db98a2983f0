"""Frozen dataclasses that are pytrees."""

from dataclasses import dataclass, field, replace
from typing import Any, Self, dataclass_transform

import jax


def static(**options: Any) -> Any:
    """A field of a `Node` that is no array: part of the tree's structure, so that another value is another program."""
    return field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(field, static))
class Node:
    """A pytree whose class is a frozen dataclass; it needs nothing but JAX, so that a loss elsewhere imports no Flax.

    >>> class Point(Node):
    ...     x: jax.Array
    ...     name: str = static(default="")
    >>> jax.tree.map(lambda x: 2 * x, Point(1, "a")).replace(name="b")
    Point(x=2, name='b')
    """

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        jax.tree_util.register_dataclass(dataclass(frozen=True)(cls))

    def replace(self, **changes: Any) -> Self:
        """The same with some fields changed."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]  (a subclass is a dataclass)
