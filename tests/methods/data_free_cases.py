"""The data-free methods on tiny nets."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from tiny_nets import CLASSES, ROWS, Case, frozen, small

from kdjax import methods
from kdjax.core import Net
from kdjax.models import generator, mlp_head


def data_free(make: Any, *beside: str, label: str = "", **fixed: Any) -> Callable[..., Case]:
    """The case of a method with a generator; `label`: how a conditional one takes its classes."""

    def case(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
        student, teacher = small(axis_name), small(axis_name, 6)
        asked = {"classes": CLASSES, "label": label} if label else {}
        maker = generator(8, channels=1, features=2, **asked, axis_name=axis_name)
        options = {"latent": 3, "student_steps": 2, **fixed} | options
        tx = tx or optax.sgd(0.1)
        method = make(student, teacher, maker, tx, tx, axis_name=axis_name, **options)
        given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
        moved = lambda s: (s.student.learner.params, s.generator.params, s.average and s.average.params)  # noqa: E731
        beside_all = ("generator", *beside)
        return Case(method, {"index": jnp.arange(ROWS)}, given, nets, moved, "student_loss", noisy=True, beside=beside_all)

    return case


dafl = data_free(methods.dafl, batch_norm=1.0, adversarial=1.0)


def in_rounds(make: Any, *others: Any, beside: tuple[str, ...] = ("generator",), **fixed: Any) -> Callable[..., Case]:
    """The case of a data-free method whose first ten steps make images.

    Args:
      make: of the method.
      *others: `axis_name -> ` further nets, or optimisers, behind the two nets.
      beside: as in `Case`.
      **fixed: options.
    """

    def case(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
        student, teacher = small(axis_name), small(axis_name, 6)
        nets = [other(axis_name) if callable(other) else other for other in others]
        counts = {"classes": CLASSES, "synthesis_steps": 10, "student_steps": 10, "pool": 2 * ROWS, "padding": 1}
        options = {**counts, **fixed} | options
        method = make(student, teacher, *nets, axis_name=axis_name, **options)
        given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
        return Case(
            method, {"index": jnp.arange(ROWS)}, given, nets, lambda s: s.maker.params, "synthesis_loss", noisy=True,
            still=lambda s: (s.student.learner.params, s.memory["meta"].params if "meta" in s.memory else {}), beside=beside,
        )  # fmt: skip

    return case


def tiny_generator(axis_name: str | None = None) -> Net:
    return generator(8, channels=1, features=2, axis_name=axis_name)


DATA_FREE = {
    "cgdd": data_free(methods.cgdd, label="product", classes=CLASSES, attention=1.0, layers=("stage1",)),
    "cmi": in_rounds(
        methods.cmi, tiny_generator, lambda axis_name: mlp_head(6, 5, norm=False), optax.sgd(0.1), optax.adam(0.05), latent=3,
        bank=2 * ROWS, cached=ROWS,
    ),
    "cudfkd": data_free(methods.cudfkd, steps=8, steps_per_epoch=2, begin=0.0, end=1.0),
    "dafl": dafl,
    "deep_inversion": in_rounds(
        methods.deep_inversion, optax.sgd(0.1), optax.adam(0.1), beside=(), shape=(8, 8, 1), batch_norm=1.0, adversarial=1.0,
        total_variation=0.1, norm=0.01, roll=1,
    ),
    "dfad": data_free(methods.dfad),
    "dfq": data_free(methods.dfq),
    "fast_dfkd": in_rounds(
        methods.fast_dfkd, tiny_generator, optax.sgd(0.1), optax.adam(0.05), optax.adam(0.05), optax.adam(0.01), latent=3,
        warm_up=1, reset=0,
    ),
    "mad": data_free(methods.mad, "average_generator", label="sum", conditional=True, classes=CLASSES),
    "zskt": data_free(methods.zskt, layers=("stage1",)),
}  # fmt: skip
