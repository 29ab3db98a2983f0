"""PyTorch's `state_dict`s to parameters and statistics, and back."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdjax.core import InputError
from kdjax.models.pretrained.names import layers_of, synonym
from kdjax.models.pretrained.weights import flat, nested

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # what wrappers put in front of every name
# PyTorch's word and the leaf here.
_BATCH_NORM = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "stats/batch_stats/{}/mean",
    "running_var": "stats/batch_stats/{}/var",
}
_HEADS = ("classifier", "classifier_distillation")  # what an encoder leaves out
_KERNEL = {"weight": "params/{}/kernel", "bias": "params/{}/bias"}


def from_pytorch(name: str, state_dict: Mapping[str, Any], params: Any, stats: Any) -> tuple[Any, Any]:
    """The weights of a PyTorch net for the net of that name here.

    Kernels go from `[out, in, h, w]` to `[h, w, in, out]`, matrices are transposed, running statistics stay as they are. Known
    are all nets of RepDistiller, torchvision's and timm's ResNet-18, 34 and 50, torchvision's MobileNetV2, and the vision
    transformers of timm and of DeiT. A prefix of all names that DataParallel or `torch.compile` leaves is taken off. An
    encoder takes all but the linear layers.

    Args:
      name: of the net, one of `models.NETS`.
      state_dict: arrays by name, as `models.read_weights` returns them.
      params: of the net, for names, shapes and dtypes; arrays or `jax.ShapeDtypeStruct`.
      stats: likewise.

    Returns:
      `(params, stats)`, NumPy arrays.

    Raises:
      InputError: one line that names the first layer that differs, in the order of the net, with both shapes.

    >>> import jax
    >>> from kdjax.models.resnet_cifar import resnet8
    >>> params, stats = resnet8(10).init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    >>> theirs = to_pytorch("resnet8", params, stats)
    >>> theirs["layer2.0.conv1.weight"].shape
    (32, 16, 3, 3)
    >>> ours, _ = from_pytorch("resnet8", theirs, params, stats)
    >>> bool((ours["classifier"]["kernel"] == params["classifier"]["kernel"]).all())
    True
    """
    found = {k: x for k, x in _bare(state_dict).items() if not k.endswith("num_batches_tracked")}
    filled: dict[str, np.ndarray] = {}
    for theirs, path, want in _pairs(name, params, stats):
        shape = tuple(want.shape[i] for i in _to_pytorch(want.ndim))
        if theirs not in found and synonym(theirs) in found:
            theirs = synonym(theirs)
        if theirs not in found:
            rest = ", ".join(repr(k) for k in list(found)[:3]) or "nothing else"
            raise InputError(f"{theirs} is not in the file, {name} has it {shape} ({path}); the file has {rest}")
        x = np.asarray(found.pop(theirs))
        if x.shape != shape:
            raise InputError(f"{theirs} is {x.shape} in the file, {name} has {shape} ({path})")
        if x.dtype.kind not in "fV":  # V: bfloat16 and narrower
            raise InputError(f"{theirs} is of type {x.dtype} in the file: expected floating numbers")
        with np.errstate(over="ignore"):
            filled[path] = np.ascontiguousarray(x.transpose(_from_pytorch(x.ndim))).astype(want.dtype)
        if not np.isfinite(filled[path]).all():
            raise InputError(f"{theirs} holds numbers in the file that are not finite")
    if "classifier" not in params:
        layers = layers_of(name, {**params, **dict.fromkeys(_HEADS, True)})
        heads = tuple(f"{word}." for theirs, ours in layers if ours in _HEADS for word in (theirs, synonym(theirs)))
        found = {k: x for k, x in found.items() if not k.startswith(heads)}
    if found:
        first, *more = found
        raise InputError(f"{first!r} is {np.shape(found[first])} in the file, {name} has none{f'; {len(more)} more' * bool(more)}")
    whole = nested(filled)
    return whole["params"], whole.get("stats", {})


def to_pytorch(name: str, params: Any, stats: Any) -> dict[str, np.ndarray]:
    """The way back: a `state_dict` of NumPy arrays, which `load_state_dict` takes once they are tensors.

    Args:
      name: of the net, one that `from_pytorch` knows.
      params: of the net.
      stats: likewise.

    Raises:
      InputError: for a net without a map.
    """
    pairs = _pairs(name, params, stats)
    return {theirs: np.ascontiguousarray(np.asarray(x).transpose(_to_pytorch(x.ndim))) for theirs, _, x in pairs}


def _pairs(name: str, params: Any, stats: Any) -> Iterator[tuple[str, str, Any]]:
    """The arrays of a net as `(PyTorch's name, path here, array)`, in the order of the net."""
    leaves = flat({"params": params, "stats": stats})
    for theirs, ours in layers_of(name, params):
        if (place := f"params/{ours}") in leaves:
            yield theirs, place, leaves.pop(place)
        for word, path in (_BATCH_NORM if f"params/{ours}/scale" in leaves else _KERNEL).items():
            if (place := path.format(ours)) in leaves:
                yield f"{theirs}.{word}", place, leaves.pop(place)
    assert not leaves, f"layers of {name} without a name in PyTorch: {list(leaves)}"


def _from_pytorch(rank: int) -> tuple[int, ...]:
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, tuple(range(rank)))


def _to_pytorch(rank: int) -> tuple[int, ...]:
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(rank, tuple(range(rank)))


def _bare(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Without the prefixes that all names have."""
    found = dict(state_dict)
    while prefix := next((p for p in _PREFIXES if found and all(k.startswith(p) for k in found)), ""):
        found = {k.removeprefix(prefix): x for k, x in found.items()}
    return found
