"""Prototype-guided distillation across tasks."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_count, check_option, from_linen, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.offline._tokens import Places, layer_names, places, resized, spread
from kdjax.methods.recipes import Objective, Outputs, paired_names
from kdjax.methods.recipes import student as one_student
from kdjax.models import fan_in_uniform

_HEAD = "classifier/"  # the student's linear layer among its taps
_EPSILON = 1e-2  # of layer norms: a place where a ReLU left nothing has no direction, and a smaller one blows up its gradient


class _TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, width: int) -> jax.Array:
        for _ in range(2):
            x = nn.relu(_linear(width)(x))
        return x


class _Prototypes(nn.Module):
    """K local features `[K, C]` that teacher and student share, and what they add to tokens."""

    count: int
    width: int

    def setup(self):
        self.prototypes = self.param("prototypes", nn.initializers.uniform(1.0), (self.count, self.width))
        self.assign, self.embed = _linear(self.count), _linear(self.width)
        self.pool, self.join, self.enrich = _linear(self.width), _TwoLayers(), _TwoLayers()
        self.norm = nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False)

    def of_teacher(self, x: jax.Array) -> jax.Array:
        """Tokens `[B, N, C]` with the residuals of all of them to the prototypes (VLAD) beside each."""
        unit = _unit(x)
        share = jax.nn.softmax(self.assign(unit))
        residual = jnp.einsum("bnk,bnc->bkc", share, unit) - jnp.sum(share, 1)[:, :, None] * self.prototypes[None]
        whole = self.pool(_unit(_unit(residual).reshape(len(x), -1)))
        return self.join(jnp.concatenate([x, jnp.broadcast_to(whole[:, None], x.shape)], -1), self.width)

    def __call__(self, x: jax.Array, like: Places) -> jax.Array:
        """Tokens enriched by the prototypes that they are near to, then `[B, C]`."""
        embedded, prototypes = self.embed(x), self.embed(self.prototypes)
        near = jax.nn.softmax(jnp.einsum("bnc,kc->bnk", embedded, prototypes))
        enriched = self.enrich(jnp.concatenate([embedded, jnp.einsum("bnk,kc->bnc", near, prototypes)], -1), self.width)
        return like._replace(x=self.norm(nn.relu(x + enriched))).pooled()


class _Guide(nn.Module):
    prototypes: int
    layers: tuple[str, ...]

    @nn.compact
    def __call__(self, seen: Outputs):
        names = _paired(seen, self.layers)
        students = [places("student", seen, name) for name, _ in names]
        teachers = [places("teacher", seen, name) for _, name in names]
        width = students[-1].x.shape[-1]
        shared = _Prototypes(self.prototypes, width, name="prototypes")
        joined = _beside(teachers)
        local = nn.relu(_linear(width, name="teacher")(joined.x))
        apart = [_hidden(s, t, name=f"hidden{k}") for k, (s, t) in enumerate(zip(students, teachers, strict=True))]
        return {
            "teacher": shared(shared.of_teacher(local), joined),
            "student": shared(students[-1].x, students[-1]),
            "hidden": sum(apart) / len(apart),
        }


def proc_kd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    label_weight: Weight = 1.0,
    enriched: Weight = 1.0,
    agreement: Weight = 1.0,
    hidden: Weight = 1.0,
    prototype: Weight = 1.0,
    prototypes: int = 72,
    warmup: float = 0.1,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Prototypes of the teacher's tokens guide a student whose classes may be others; the teacher's logits are not used.

    `L = label_weight CE(z, y) + enriched CE(z_a, y) + agreement KL(softmax z_a || softmax z) + hidden |h_s - h_t|^2 +
    prototype CE(z_t, y)`. `z_a` is the student's linear layer on its last tokens, enriched by K learned prototypes; `z_t` the same
    on the teacher's tokens of three layers, joined, with their residuals to the prototypes; the gradient stops at `z_a` in KL; `h`
    are tokens of three layers behind layer norm, whose differences are averaged, the student's through a linear layer where widths
    differ. In the first phase only the last term has a gradient: it trains the prototypes, what joins them to the teacher's tokens
    and the student's linear layer (running statistics and weight decay go on in all of the student).

    A map's tokens are its positions; the class token, or the mean of all, is classified. Where the two nets see an image in other
    places, their maps are resized. The released code trains with `CE(z, y)` alone: modules follow it, the other terms, their
    weights and the phases are reconstructed from what it defines and does not call, and from the abstract.

    Args:
      student: a classifier of `kdjax.models`, whose linear layer is `"classifier"`.
      teacher: the frozen net.
      tx: the optimiser of the student and of all that guides it.
      steps: of the run.
      label_weight: factor of the first term.
      enriched: of the second.
      agreement: of the third.
      hidden: of the fourth.
      prototype: of the last.
      prototypes: K.
      warmup: length of the first phase, in fractions of the run; 0: none.
      layers: pairs as in `pairs`, the last ones the deepest; empty: three of each net, equally spaced.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the student gives `"logits"`, both nets the maps or tokens of `layers`. Its
      networks are `"student"` and `"teacher"`.

    Reference: Li, Wu, Han and Tian, Prototype-guided Cross-task Knowledge Distillation for Large-scale Models, 2022 (arXiv
    2212.13180).
    """
    check_count(prototypes=prototypes)
    check_option("warmup", warmup, lambda share: 0 <= share < 1, "from 0 to below 1")
    first = round(warmup * steps)

    def terms(seen, adapted):
        def classified(x):
            return x @ seen.student[f"{_HEAD}kernel"] + seen.student[f"{_HEAD}bias"][None]

        def entropy(z):
            return masked_loss(losses.cross_entropy, z, seen.batch)

        z, z_a, z_t = seen.student["logits"], classified(adapted["student"]), classified(adapted["teacher"])
        on = jnp.where(seen.step >= first, 1.0, 0.0)
        return {
            "cross_entropy": on * entropy(z),
            "enriched": on * entropy(z_a),
            "agreement": on * losses.kl_distillation(z, z_a, temperature=1.0),
            "hidden": on * adapted["hidden"],
            "prototype": entropy(z_t),
        }

    weights = {
        "cross_entropy": label_weight, "enriched": enriched, "agreement": agreement, "hidden": hidden, "prototype": prototype,
    }  # fmt: skip
    objective = Objective(terms, weights, from_linen(_Guide(prototypes, tuple(layers))))
    return one_student(_with_head(student), tx, objective, teacher=teacher, axis_name=axis_name, micro=micro)


def _with_head(student: Net) -> Net:
    """The student with its linear layer among the taps of training."""

    def apply(params, stats, x, *, train, key=None):
        taps, stats = student.apply(params, stats, x, train=train, key=key)
        if train:
            layer = params.get("classifier") if isinstance(params, Mapping) else None
            if layer is None:
                raise InputError("the student has no linear layer 'classifier': expected a classifier of kdjax.models")
            taps = taps | {f"{_HEAD}{name}": layer[name] for name in ("kernel", "bias")}
        return taps, stats

    return Net(student.init, apply)


def _paired(seen: Outputs, layers: tuple[str, ...]) -> list[tuple[str, str]]:
    if layers:
        return paired_names(seen, layers)
    sides = [layer_names(taps) for taps in (seen.student, seen.teacher)]
    count = min(3, *map(len, sides))
    if not count:
        raise InputError("layers=() takes blocks or stages, and one of the nets has none: give layers=('stage1=block2', ...)")
    return list(zip(*(spread(names, count) for names in sides), strict=True))


def _beside(layers: list[Places]) -> Places:
    """Layers beside each other in the places of the last one."""
    last = layers[-1]
    if all((one.grid, one.extra) == (last.grid, last.extra) for one in layers):
        return last._replace(x=jnp.concatenate([one.x for one in layers], -1))
    maps = [resized(one.map(), last.grid) for one in layers]
    x = jnp.concatenate(maps, -1)
    return Places(x.reshape(x.shape[0], -1, x.shape[-1]), 0, last.grid)


def _hidden(student: Places, teacher: Places, *, name: str) -> jax.Array:
    """The mean squared difference `[B]` of tokens behind layer norm. To be called inside a compact Linen module."""
    ours, theirs = student.x, teacher.x
    if (student.grid, student.extra) != (teacher.grid, teacher.extra):
        ours, theirs = resized(student.map(), teacher.grid), teacher.map()
    if ours.shape[-1] != theirs.shape[-1]:
        ours = _linear(theirs.shape[-1], name=name)(ours)
    return losses.hint(_standardised(ours), _standardised(theirs))


def _standardised(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, -1, keepdims=True)  # before the squares: large features would leave nothing of a difference of means
    return x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + _EPSILON)


def _unit(x: jax.Array) -> jax.Array:
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-12))


def _linear(features: int, name: str | None = None) -> nn.Dense:
    return nn.Dense(features, kernel_init=fan_in_uniform, name=name)
