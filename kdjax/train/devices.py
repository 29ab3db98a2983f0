"""Where a run computes: its devices, how a step is spread over them, and how arrays get there and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import InputError, check_option
from kdjax.data import process_rows

PARALLEL = ("jit", "shard_map", "pmap")
AXIS = "data"  # the mapped axis of the manual wrappers
ROWS = ("data", "model")  # rows of a batch are spread over all devices, also over those that share one copy of the weights
LARGE = 2**16  # elements from which on an array is cut over `model`


class Devices(NamedTuple):
    """The devices of a run and how a step is spread over them.

    Attributes:
      parallel: `"jit"`: arrays are global and XLA spreads the work; `"shard_map"`, `"pmap"`: every device runs the step on its
        own rows, and the method averages over the axis `"data"`.
      mesh: axes `data` and `model`. Each group of `model` devices holds one copy of the large arrays together (fully sharded
        data parallelism). Under `pmap` every process has a mesh of its own devices, for evaluation.
    """

    parallel: str
    mesh: Mesh

    @property
    def axis_name(self) -> str | None:
        """What methods and nets are built with."""
        return None if self.parallel == "jit" else AXIS

    @property
    def size(self) -> int:
        """How many devices share a batch, over all processes."""
        return self.mesh.size * (jax.process_count() if self.parallel == "pmap" else 1)

    @property
    def label(self) -> dict[str, Any]:
        """What a bit-for-bit repetition needs to be the same."""
        return {"parallel": self.parallel, "mesh": dict(self.mesh.shape), "processes": jax.process_count()}


def find_devices(parallel: str = "jit", *, count: int = 0, fsdp: int = 1) -> Devices:
    """The devices of a run.

    Args:
      parallel: one of `PARALLEL`.
      count: how many; 0 is all there are, the only choice where there are several processes.
      fsdp: devices that hold one copy of the large arrays together: a divisor of the number of devices.

    Returns:
      Devices, in the order of their processes.

    Raises:
      InputError: when there are not so many, or they cannot be shared out so.
    """
    check_option("parallel", parallel, lambda p: p in PARALLEL, ", ".join(PARALLEL))
    there = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    check_option("devices", count, lambda n: 0 <= n <= len(there), f"0 to {len(there)}, the devices there are")
    if jax.process_count() > 1 and count not in (0, len(there)):
        raise InputError(f"devices={count} is not accepted: expected 0, all of them, where there are several processes")
    used = there[: count or len(there)]
    check_option("fsdp", fsdp, lambda n: n >= 1 and len(used) % n == 0, f"a divisor of {len(used)}, the devices of the run")
    if fsdp > 1 and parallel != "jit":
        raise InputError(f"fsdp={fsdp} is not accepted with parallel={parallel!r}: expected parallel='jit', which can cut weights")
    if parallel == "pmap":
        used = [d for d in used if d.process_index == jax.process_index()]
    grid = np.array(used).reshape(-1, fsdp)
    return Devices(parallel, Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto)))


def one_device() -> Devices:
    """The first device alone."""
    return find_devices(count=1)


def shardings(tree: Any, devices: Devices, *, lead: int = 0) -> Any:
    """How every array of a tree lies on the mesh: large ones cut along their longest axis that `model` divides, others copied.

    Args:
      tree: arrays or their shapes.
      devices: of the run.
      lead: leading axes that are never cut (members).
    """
    pieces = devices.mesh.shape["model"]

    def one(x):
        axes = [i for i in range(lead, x.ndim) if x.shape[i] % pieces == 0]
        if pieces == 1 or not axes or np.prod(x.shape[lead:]) < LARGE:
            return NamedSharding(devices.mesh, P())
        longest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(devices.mesh, P(*("model" if i == longest else None for i in range(x.ndim))))

    return jax.tree.map(one, tree)


def place(tree: Any, devices: Devices, *, lead: int = 0) -> Any:
    """Puts arrays, the same on every process, on the devices as `shardings` says."""

    def put(x, sharding):
        if jax.process_count() == 1:
            return jax.device_put(x, sharding)
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree, shardings(tree, devices, lead=lead))


def on_host(tree: Any) -> Any:
    """Every array as a whole in this process's memory; all processes must call it."""

    def one(x):
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            from jax.experimental.multihost_utils import process_allgather

            return process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(one, tree)


def within_process(tree: Any) -> Any:
    """Arrays that this process can use without the others: with one process as they are, else copies on the host."""
    return tree if jax.process_count() == 1 else on_host(tree)


def own_rows(devices: Devices, rows: int) -> np.ndarray:
    """Which of the rows that are spread over the mesh this process holds: positions `[rows / processes of the mesh]`."""
    whole = devices.parallel == "pmap"  # every process has a mesh of its own
    return process_rows(np.arange(rows), 0 if whole else jax.process_index(), 1 if whole else jax.process_count())


def put_rows(tree: Any, devices: Devices, axis: int = 0) -> Any:
    """Rows of a batch on the mesh, from what each of its processes holds.

    Args:
      tree: host arrays; all processes of the mesh hold equally many rows, in the order of the processes.
      devices: of the run.
      axis: which axis the rows are.
    """
    sharding = NamedSharding(devices.mesh, P(*[None] * axis, ROWS))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def constrain_rows(tree: Any, devices: Devices) -> Any:
    """Inside a compiled program: the rows of a batch spread over the mesh."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(devices.mesh, P(ROWS)))


def spread(f: Callable, devices: Devices, moving: Any, *, axis: int) -> Callable:
    """Compiles `(moving, frozen, arrays, keys, now, epochs, first) -> (moving, metrics)` for the devices of a run.

    Args:
      f: the function of the whole batch (`jit`), or of one device's rows (`shard_map`, `pmap`).
      devices: of the run.
      moving: the moving part with members, arrays or shapes; it is donated (not under `pmap`).
      axis: which axis of `now` the rows are.

    Returns:
      the compiled function; `now` is what `feed` gives. What comes out is placed as what goes in: a resumed run then compiles the
      same program.
    """
    copied = NamedSharding(devices.mesh, P())
    if devices.parallel == "jit":
        return jax.jit(f, donate_argnums=0, out_shardings=(shardings(moving, devices, lead=1), copied))
    if devices.parallel == "shard_map":
        specs = (P(), P(), P(), P(), P(*[None] * axis, AXIS), P(), P())
        mapped = jax.shard_map(f, mesh=devices.mesh, in_specs=specs, out_specs=P())
        return jax.jit(mapped, donate_argnums=0, out_shardings=copied)
    mapped = jax.pmap(f, axis_name=AXIS, in_axes=(None, None, None, None, axis, None, None), out_axes=None, devices=_all(devices))

    def per_device(moving, frozen, arrays, keys, now, epochs, first):
        local = devices.mesh.size
        cut = jax.tree.map(lambda x: x.reshape(*x.shape[:axis], local, -1, *x.shape[axis + 1 :]), now)
        return mapped(moving, frozen, arrays, keys, cut, epochs, first)

    return per_device


def _all(devices: Devices) -> list | None:
    """The devices of a pmap; over several processes it takes all of them by itself."""
    return list(devices.mesh.devices.flat) if jax.process_count() == 1 else None
