"""Every method on tiny nets: one function a method, all in one table."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import methods
from kdjax.core import Frozen, Method, Net
from kdjax.models import conv_net, generator, linear_head, mlp_head

ROWS, CLASSES = 16, 4


class Case(NamedTuple):
    """A method with what a test of it needs.

    Attributes:
      method: the method.
      batch: what one step takes.
      given: weights from outside.
      nets: the networks of `predict` by name, the shipped one first.
      moved: `state -> ` parameters that a step must change.
      falls: the metric that training lowers.
      noisy: whether the key of a step matters.
    """

    method: Method
    batch: dict
    given: dict
    nets: dict[str, Net]
    moved: Callable[[Any], Any]
    falls: str
    noisy: bool = False


LABELS = jnp.arange(ROWS) % CLASSES


def images(seed: int = 0) -> jax.Array:
    """Stripes, whose width and brightness tell the class, under noise."""
    x = np.random.default_rng(seed).uniform(size=(ROWS, 8, 8, 1)) / 2
    for k in range(ROWS):
        x[k, :: 1 + k % CLASSES] += (1 + k % CLASSES) / 4
    return jnp.asarray(x, jnp.float32)


def labelled_images() -> dict:
    return {"image": images(), "label": LABELS, "index": jnp.arange(ROWS)}


def frozen(net: Net, seed: int = 9) -> Frozen:
    """A teacher that is surer than an untrained net, and whose statistics are not those it starts with."""
    params, stats = jax.jit(net.init)(jax.random.key(seed), images())
    return Frozen(jax.tree.map(lambda p: 3 * p, params), jax.tree.map(lambda s: s + 0.1, stats), source="of a test")


def without_batch_norm(width: int = 5) -> Net:
    """A net as a plain pair of functions; its rows do not see each other."""

    def init(key, x):
        a, b = jax.random.split(key)
        inputs = int(np.prod(x.shape[1:]))
        return {"a": jax.random.normal(a, (inputs, width)) / 8, "b": jax.random.normal(b, (width, CLASSES))}, {}

    def apply(params, stats, x, *, train, key=None):
        pooled = jnp.tanh(x.reshape(x.shape[0], -1) @ params["a"])
        return {"pooled": pooled, "logits": pooled @ params["b"]}, stats

    return Net(init, apply)


def dropped(net: Net) -> Net:
    """The same net with dropout on its inputs; without a key it cannot train."""

    def apply(params, stats, x, *, train, key=None):
        if train:
            assert key is not None
            x = 2 * x * jax.random.bernoulli(key, 0.5, x.shape)
        return net.apply(params, stats, x, train=train, key=key)

    return Net(net.init, apply)


def small(axis_name: str | None = None, width: int = 4) -> Net:
    return conv_net((width,), CLASSES, axis_name=axis_name)


def supervised(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net = net or small(axis_name)
    method = methods.supervised(net, tx or optax.sgd(0.5), axis_name=axis_name, **options)
    return Case(method, labelled_images(), {}, {"network": net}, lambda s: s.network.params, "loss")


def kd(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
    net, teacher = net or small(axis_name), small(axis_name, 6)
    return taught(methods.kd, net, teacher, tx, axis_name=axis_name, **options)


def taught(make: Any, student: Net, teacher: Net, tx: Any = None, **options: Any) -> Case:
    """A method of methods/offline/ with its two nets."""
    method = make(student, teacher, tx or optax.sgd(0.5), **options)
    given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
    return Case(method, labelled_images(), given, nets, lambda s: s.learner.params, "loss")


def staged(axis_name: str | None = None, width: int = 4) -> Net:
    """A net of two stages, for what compares maps."""
    return conv_net((width, width + 2), CLASSES, axis_name=axis_name)


def offline(make: Any, rate: float = 0.05, noisy: bool = False, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/offline/ on nets of two stages."""

    def case(axis_name: str | None = None, student: Net | None = None, teacher: Net | None = None, tx: Any = None, **options: Any):
        nets = student or staged(axis_name), teacher or staged(axis_name, 6)
        return taught(make, *nets, tx or optax.sgd(rate), axis_name=axis_name, **fixed | options)._replace(noisy=noisy)

    return case


def dml(axis_name: str | None = None, nets: tuple[Net, ...] | None = None, tx: Any = None, **options: Any) -> Case:
    nets = nets or (small(axis_name), small(axis_name, 6))
    method = methods.dml(nets, tx or optax.sgd(0.5), axis_name=axis_name, **options)
    named = {f"peer{k}": net for k, net in enumerate(nets)}
    return Case(method, labelled_images(), {}, named, lambda s: [p.params for p in s.peers], "peer0_loss")


def byol(axis_name: str | None = None, tx: Any = None, probe: Net | None = None, **options: Any) -> Case:
    encoder = conv_net((4,), None, axis_name=axis_name)
    projector, predictor = (mlp_head(6, 5, axis_name=axis_name) for _ in range(2))
    probe = probe or linear_head(CLASSES)
    options = {"steps": 40, "tau": 0.9} | options
    method = methods.byol(encoder, projector, predictor, tx or optax.sgd(0.02), probe=probe, axis_name=axis_name, **options)
    batch = {"views": (images(), images() + 0.1 * images(1)), "label": LABELS, "index": jnp.arange(ROWS)}
    return Case(method, batch, {}, {"encoder": encoder}, lambda s: (s.online.params, s.target.params), "byol")


def dafl(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    student, teacher = small(axis_name), small(axis_name, 6)
    maker = generator(8, channels=1, features=2, axis_name=axis_name)
    options = {"latent": 3, "student_steps": 2, "batch_norm": 1.0, "adversarial": 1.0} | options
    tx = tx or optax.sgd(0.1)
    method = methods.dafl(student, teacher, maker, tx, tx, axis_name=axis_name, **options)
    given, nets = {"teacher": frozen(teacher)}, {"student": student, "teacher": teacher}
    moved = lambda s: (s.student.params, s.generator.params)  # noqa: E731
    return Case(method, {"index": jnp.arange(ROWS)}, given, nets, moved, "student_loss", noisy=True)


CASES: dict[str, Callable[..., Case]] = {
    "supervised": supervised,
    "kd": kd,
    "at": offline(methods.at, weight=10.0),
    "crd": offline(methods.crd, labels=LABELS, negatives=5, width=3, noisy=True),
    "fitnet": offline(methods.fitnet, weight=1.0),
    "fitnet_hint": offline(methods.fitnet_hint, weight=1.0),
    "dml": dml,
    "byol": byol,
    "dafl": dafl,
}


def start(case: Case, seed: int = 0) -> Any:
    return jax.jit(case.method.init)(jax.random.key(seed), case.batch, case.given)


def student_of(state: Any) -> tuple:
    """Parameters and statistics of the student in the State of a method of methods/offline/."""
    return state.learner.params["student"], state.learner.stats["student"]


def close(a: Any, b: Any, **tolerance: float) -> None:
    """Equal trees, every leaf to the tolerance (none: bit for bit)."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 0} | tolerance))


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
