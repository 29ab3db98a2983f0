"""The arrays of a tree by where they lie in it."""

from typing import Any

import jax


def path_name(path: Any) -> str:
    """The path of a leaf, as `jax.tree_util` gives it, in one word: `"params/conv/kernel"`, `"heads/0"`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths, in their order.

    >>> by_path({"b": (1, 2), "a": {"c": 3}})
    {'a/c': 3, 'b/0': 1, 'b/1': 2}
    """
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
