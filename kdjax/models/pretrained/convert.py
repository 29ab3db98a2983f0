"""PyTorch's `state_dict`s to parameters and statistics, and back."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdjax.core import InputError
from kdjax.core.tree_paths import by_path
from kdjax.models.pretrained.fit import HEADS, Fitted, advice, is_head, leftover, resized
from kdjax.models.pretrained.names import layers_of, synonym
from kdjax.models.pretrained.numbers import as_weight
from kdjax.models.pretrained.prefix import find_prefix, is_averaged
from kdjax.models.pretrained.weights import nested

# PyTorch's word and the leaf here.
_BATCH_NORM = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "stats/batch_stats/{}/mean",
    "running_var": "stats/batch_stats/{}/var",
}
_LINEAR = ("fc", "linear", "head", "classifier")  # names of a linear layer that stands outside the backbone
_KERNEL = {"weight": "params/{}/kernel", "bias": "params/{}/bias"}


def from_pytorch(name: str, state_dict: Mapping[str, Any], params: Any, stats: Any, *, part: str = "") -> tuple[Any, Any]:
    """The weights of a PyTorch net for the net of that name here.

    Kernels go from `[out, in, h, w]` to `[h, w, in, out]`, matrices are transposed, running statistics stay as they are. Known
    are all nets of RepDistiller, torchvision's and timm's ResNet-18, 34 and 50, torchvision's MobileNetV2, and the vision
    transformers of timm and of DeiT. What stands in front of the names (`module.`, `backbone.`, `encoder_q.`) is found by
    itself: the one prefix under which the net fits. An encoder takes all but the linear layers.

    Args:
      name: of the net, one of `models.NETS`.
      state_dict: arrays by name, as `models.read_weights` returns them.
      params: of the net, for names, shapes and dtypes; arrays or `jax.ShapeDtypeStruct`.
      stats: likewise.
      part: the prefix, where the net fits under several; `"ema"` for averaged weights; `""` for plain ones where there are both.

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
    return fit_pytorch(name, state_dict, params, stats, part=part)[:2]


def fit_pytorch(
    name: str,
    state_dict: Mapping[str, Any],
    params: Any,
    stats: Any,
    *,
    part: str = "",
    side: tuple[int, int] | None = None,
    new_head: bool = False,
) -> Fitted:
    """As `from_pytorch`, and says what was taken and what was left over.

    Args:
      name: as there.
      state_dict: as there.
      params: as there.
      stats: as there.
      part: as there.
      side: of the images, to which the positions of a transformer are resized; None: they must fit.
      new_head: whether the head may be missing or of another shape: it is then left out.

    Raises:
      InputError: as there.
    """
    found = {k: x for k, x in state_dict.items() if not k.endswith("num_batches_tracked")}
    pairs = list(_pairs(name, params, stats))
    prefix, told, others = find_prefix(found, [theirs for theirs, path, _ in pairs if not is_head(path)], part, synonym)
    inside = {k.removeprefix(prefix): x for k, x in found.items() if k.startswith(prefix)}
    outside = {k: x for k, x in found.items() if not k.startswith(prefix)}
    filled: dict[str, np.ndarray] = {}
    fresh: list[str] = []
    notes: list[str] = []
    for theirs, path, want in pairs:
        shape = tuple(want.shape[i] for i in _to_pytorch(want.ndim))
        called = next((k for k in (theirs, synonym(theirs)) if k in inside), "")
        if not called and is_head(path) and (there := _head_outside(theirs, outside)):
            inside[called := there] = outside.pop(there)
        if not called:
            if new_head and is_head(path):
                fresh.append(path)
                continue
            rest = ", ".join(repr(k) for k in list(inside)[:3]) or "nothing else"
            raise InputError(f"{theirs} is not in the file, {name} has it {shape} ({path}); the file has {rest}")
        x = np.asarray(inside.pop(called))
        resize = side is not None and path == "params/positions" and x.ndim == 3 and x.shape[::2] == shape[::2]
        if x.shape != shape and not resize:
            if new_head and is_head(path):
                fresh.append(path)
                continue
            help_ = advice(name, path, x.transpose(_from_pytorch(x.ndim)).shape, want.shape)
            raise InputError(f"{theirs} is {x.shape} in the file, {name} has {shape} ({path}){help_}")
        filled[path] = np.ascontiguousarray(as_weight(theirs, x.transpose(_from_pytorch(x.ndim)), path, want))
        if resize and x.shape != shape:
            notes.append(f"positions resized from {x.shape} to {shape}")
    if "classifier" not in params:
        layers = layers_of(name, {**params, **dict.fromkeys(HEADS, True)})
        heads = tuple(f"{word}." for theirs, ours in layers if ours in HEADS for word in (theirs, synonym(theirs)))
        outside |= {prefix + k: x for k, x in inside.items() if k.startswith(heads)}
        inside = {k: x for k, x in inside.items() if not k.startswith(heads)}
    if inside:
        first, *more = inside
        raise InputError(f"{first!r} is {np.shape(inside[first])} in the file, {name} has none{f'; {len(more)} more' * bool(more)}")
    if side is not None and "params/positions" in filled:
        filled = resized(filled, side)
    whole, left = nested(filled), leftover([k for k in outside if not k.startswith(others)])
    if left or others or is_averaged(prefix):
        notes = [told, *notes, left]
    return Fitted(whole.get("params", {}), whole.get("stats", {}), "; ".join(filter(None, notes)), tuple(fresh))


def _head_outside(theirs: str, outside: Mapping[str, Any]) -> str:
    """The name of the linear layer beside the backbone, as `head.fc` beside `backbone.conv1`; empty where there is none."""
    layer, _, word = theirs.rpartition(".")
    for names in ((layer, synonym(layer)), _LINEAR):
        found = [k for k in outside if any(f".{k}".endswith(f".{name}.{word}") for name in names)]
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


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
    leaves = by_path({"params": params, "stats": stats})
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
