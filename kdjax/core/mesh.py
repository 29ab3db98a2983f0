"""Functions on a mesh of Explicit axes, which `jax.make_mesh` makes where nothing else is said."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P


def placed(x: Any) -> tuple[Any, tuple[Any, ...]]:
    """Where the type says that an array lies, and for each of its axes the Explicit axis of the mesh, or None."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    return sharding, tuple(getattr(sharding, "spec", ()))


def on_any_mesh(f: Callable[..., Any], out: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, left to the compiler's own spreading also where the types of its inputs say how they lie.

    With Explicit axes JAX asks for the place of every result that it cannot tell, such as that of a convolution or of a product
    over rows, and refuses to trace without. Inside, these axes are Auto, so that the program is the one of an Auto mesh;
    what comes out has a place in its type again. Without Explicit axes, also inside `shard_map`, `f` is called as it is.

    Args:
      f: of any pytrees of arrays.
      out: with the arguments of `f`, the places of what it returns: a `PartitionSpec` for every array, or for a whole subtree.

    Raises:
      ValueError: by JAX, where arguments lie on several meshes.

    >>> mesh = jax.make_mesh((1,), ("data",))
    >>> x = jax.device_put(jax.numpy.ones((4, 2)), NamedSharding(mesh, P("data")))
    >>> jax.jit(on_any_mesh(lambda x: x.T @ x, lambda x: P()))(x).tolist()  # without: "Contracting dimensions are sharded"
    [[4.0, 4.0], [4.0, 4.0]]
    """

    @wraps(f)
    def call(*args: Any, **named: Any) -> Any:
        mesh = _explicit_mesh((args, named))
        if mesh is None:
            return f(*args, **named)
        places = jax.tree.map(lambda spec: NamedSharding(mesh, spec), out(*args, **named), is_leaf=lambda x: isinstance(x, P))
        on_auto = jax.sharding.auto_axes(axes=mesh.explicit_axes, out_sharding=places)
        return on_auto(lambda args, named: f(*args, **named))(args, named)

    return call


def places_of(tree: Any) -> Any:
    """The `PartitionSpec` of every array, as its type has it; that of an array on every device is empty."""
    return jax.tree.map(lambda x: P(*placed(x)[1]), tree)


def rows_of(tree: Any) -> P:
    """The `PartitionSpec` of arrays whose rows lie as those of `tree` do."""
    firsts = (placed(x)[1][:1] for x in jax.tree.leaves(tree))
    return P(*next((first for first in firsts if any(first)), ()))


def _explicit_mesh(tree: Any) -> AbstractMesh | None:
    meshes = (getattr(placed(x)[0], "mesh", None) for x in jax.tree.leaves(tree) if isinstance(x, jax.Array))
    return next((mesh for mesh in meshes if mesh is not None and mesh.explicit_axes), None)
