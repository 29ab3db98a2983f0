"""The overhaul of feature distillation."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax

from kdjax import losses
from kdjax.core import InputError, check_option, from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, Outputs, method_of, paired_names, pairs
from kdjax.models import batch_norm, conv2d


class _Connectors(nn.Module):
    layers: tuple[str, ...]

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        connected = {}
        for k, (student, teacher) in enumerate(pairs(seen, self.layers, suffix="_preact")):
            x = conv2d(teacher.shape[-1], 1, name=f"conv{k}")(student)
            connected[f"{k}"] = batch_norm(train, axis_name=seen.axis_name, name=f"bn{k}")(x)
        return connected


def ofd_objective(*, weight: Weight = 1e-3, layers: Sequence[str] = (), norms: Sequence[str] = ()) -> Objective:
    """The student's maps before the activation, through a 1x1 convolution and batch norm, imitate the teacher's where it matters.

    `L_x = sum over levels l = 0 ... L - 1 of 2^(l - L + 1) sum over elements of (s - t')^2 where s > t' or t > 0`, where
    `t' = max(t, m)` and m is the mean of a channel's negative values, by scale and bias of the teacher's batch norm in front of the
    activation.

    Args:
      weight: factor of the batch mean; 1e-4 on ImageNet.
      layers: what is compared, as in `pairs`; empty: the ends of all stages.
      norms: for each of them the teacher's batch norm, such as `"stage1_block3/bn2"`; empty: found by `norm_in_front`.

    Reference: Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019 (arXiv 1904.01866).
    """

    def terms(seen, adapted):
        teachers = [teacher for _, teacher in pairs(seen, layers, suffix="_preact")]
        params = seen.given["teacher"].params
        paths = norms or [norm_in_front(params, name) for _, name in paired_names(seen, layers)]
        check_option("norms", tuple(norms), lambda _: len(paths) == len(teachers), f"one for each of {len(teachers)} layers, or ()")
        margins = [losses.overhaul_margin(norm["scale"], norm["bias"]) for norm in (_norm(params, path) for path in paths)]
        levels = enumerate(zip(teachers, margins, strict=True))
        parts = [losses.overhaul(adapted[f"{k}"], teacher, margin=margin) for k, (teacher, margin) in levels]
        return {"overhaul": sum(2.0 ** (k + 1 - len(parts)) * part for k, part in enumerate(parts))}

    return Objective(terms, {"overhaul": weight}, from_linen(_Connectors(tuple(layers))))


def norm_in_front(params: Mapping, stage: str) -> str:
    """The path of the batch norm whose output a net's tap `"<stage>_preact"` is, or is the sum of with the shortcut.

    It is known of `conv_net`, the residual and wide residual nets and `vgg*`.

    Args:
      params: of the net.
      stage: `"stage1"`, ...

    Raises:
      InputError: for another net.

    >>> norm_in_front({"stage1_conv": {}, "stage1_bn": {}}, "stage1")
    'stage1_bn'
    """
    plain = [name for name in params if name.startswith(f"{stage}_bn")]
    if plain:  # conv_net, vgg
        return max(plain, key=lambda name: (len(name), name))
    number, blocks = stage.removeprefix("stage"), [name for name in params if name.startswith(f"{stage}_block")]
    shortcuts = [block for block in params.values() if isinstance(block, Mapping) and "shortcut_conv" in block]
    if not (shortcuts and blocks and number.isdigit()):
        raise InputError(
            f"the batch norm in front of the teacher's {stage}_preact is not known: give its path in the option norms, or take a "
            "conv_net, resnet, wrn or vgg as the teacher"
        )
    if all("shortcut_bn" not in block for block in shortcuts):  # wrn: batch norm comes before a convolution
        following = f"stage{int(number) + 1}_block1"
        return f"{following}/bn1" if following in params else "bn"
    last = max(blocks, key=lambda name: (len(name), name))
    return f"{last}/{'bn3' if 'bn3' in params[last] else 'bn2'}"


def _norm(params: Mapping, path: str) -> Mapping[str, jax.Array]:
    node = params
    for name in path.split("/"):
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or set(node) != {"scale", "bias"}:
        raise InputError(f"norms={path!r} is not accepted: the teacher has no such batch norm; expected a path as 'stage1_bn'")
    return node


ofd = method_of(ofd_objective)
