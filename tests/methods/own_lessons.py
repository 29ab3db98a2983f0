"""What tests of methods/self_distil/ share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import close, equal, look, start, student_of, supervised
from tiny_nets import Case

from kdjax.core import with_label_weights
from kdjax.methods.recipes import Objective, Outputs

KEY = jax.random.key(5)


def learns_as_supervised(case: Case, **options: Any) -> None:
    """Three steps of the method are those of supervised training."""
    plain = supervised(**options)
    a, b = start(case), start(plain)
    assert equal(student_of(a), student_of(b))
    step_a, step_b = jax.jit(case.method.step), jax.jit(plain.method.step)
    for _ in range(3):
        (a, _), (b, _) = step_a(a, case.batch, KEY), step_b(b, plain.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-6)


def seen_of(student: dict, labels: Any = None, **more: Any) -> Outputs:
    """A batch as an objective without a teacher sees it, of bare taps."""
    batch = {} if labels is None else with_label_weights({"label": jnp.asarray(labels), "index": jnp.arange(len(labels))})
    return look(student, {}).replace(batch=batch | more.pop("batch", {}), **more)


def total(objective: Objective, seen: Outputs, adapted: Any = None) -> jax.Array:
    """The weighted sum of an objective's terms."""
    terms = objective.terms(seen, adapted or {})
    return sum(objective.weights[name] * jnp.mean(term) for name, term in terms.items())


def same_as_golden(g: dict, loss: Any, *names: str) -> None:
    """`loss(*arrays)` has the value and the gradients of a reference file."""
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(names)))))(*(g[name] for name in names))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for name, gradient in zip(names, gradients, strict=True):
        largest = np.abs(g[f"grad_{name}"]).max()
        np.testing.assert_allclose(gradient, g[f"grad_{name}"], rtol=0, atol=1e-4 * largest)
