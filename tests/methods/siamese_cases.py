"""The methods without labels on tiny nets."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny_nets import CLASSES, LABELS, ROWS, Case, images, labelled_images

from kdjax import methods
from kdjax.augment import Geometry
from kdjax.core import Frozen, by_part
from kdjax.models import conv_net, linear_head, mlp_head, patch_decoder, vit

SLOW, PROBE, FOLLOWERS = optax.sgd(0.02), linear_head(CLASSES), ("target_encoder", "target_projector")


def siamese(
    make: Any, falls: str, *behind: str, tx: Any = SLOW, noisy: bool = False, rounding: float = 1e-5, **fixed: Any
) -> Callable[..., Case]:
    """The case of a method of methods/siamese/; `behind` are the nets behind encoder and projector, and those that follow."""

    def case(axis_name: str | None = None, **options: Any) -> Case:
        encoder = conv_net((4,), None, axis_name=axis_name)
        heads = (mlp_head(6, 5, axis_name=axis_name) for _ in range(1 + ("predictor" in behind)))
        method = make(encoder, *heads, tx, axis_name=axis_name, **fixed | options)
        batch = {"views": (images(), images() + 0.1 * images(1)), "label": LABELS, "index": jnp.arange(ROWS)}

        def moved(state):
            return (state.online.params, *([state.target.params] if state.target else []))

        return Case(method, batch, {}, {"encoder": encoder}, moved, falls, noisy, beside=("projector", *behind), rounding=rounding)

    return case


byol = siamese(methods.byol, "byol", "predictor", "probe", *FOLLOWERS, rounding=1e-6, steps=40, tau=0.9, probe=PROBE)


def deepcluster_v2(*args: Any, **options: Any) -> Case:
    """With clusters, as behind the first refresh."""
    fixed = {"numbers": 2 * np.arange(ROWS), "prototypes": 3, "heads": 2}
    case = siamese(methods.deepcluster_v2, "deepcluster", tx=optax.sgd(0.1), **fixed)(*args, **options)

    def init(key, batch, given):
        state = case.method.init(key, batch, given)
        found = state.memory.assignments
        return state._replace(memory=state.memory._replace(assignments=jnp.broadcast_to(LABELS % 3, found.shape)))

    return case._replace(method=case.method._replace(init=init), batch=case.batch | {"index": 2 * jnp.arange(ROWS)})


def lc_loss(axis_name: str | None = None, **options: Any) -> Case:
    """The second view is the left three quarters of the image, mirrored."""
    encoder, heads = conv_net((4,), None, axis_name=axis_name), [mlp_head(6, 5, axis_name=axis_name) for _ in range(3)]
    options = {"steps": 40, "tau": 0.9, "temperature": 0.5} | options
    method = methods.lc_loss(encoder, *heads, optax.sgd(0.1), axis_name=axis_name, **options)
    every = partial(jnp.broadcast_to, shape=(ROWS, 2, 2))
    still = Geometry(every(jnp.eye(2)), jnp.zeros((ROWS, 2)), (8, 8))
    moved = Geometry(every(jnp.diag(jnp.array([-0.75, 1.0]))), jnp.tile(jnp.array([6.0, 0.0]), (ROWS, 1)), (8, 8))
    left = jax.image.resize(images()[:, :, :6], (ROWS, 8, 8, 1), "linear")[:, :, ::-1]
    batch = {"views": (images(), left), "geometry": (still, moved), "label": LABELS, "index": jnp.arange(ROWS)}
    beside = ("projector", "local", "predictor", *FOLLOWERS, "target_local")
    return Case(
        method, batch, {}, {"encoder": encoder}, lambda s: (s.online.params, s.target.params), "loss", beside=beside, rounding=1e-5
    )


def mae(axis_name: str | None = None, **options: Any) -> Case:
    """Of the 16 patches of an image the encoder sees 8."""
    encoder, decoder = vit(2, 8, 1, 2, None, axis_name=axis_name), patch_decoder(2, 1, width=8, depth=1, heads=2)
    method = methods.mae(encoder, decoder, optax.sgd(0.3), axis_name=axis_name, **{"patch": 2, "mask": 0.5} | options)
    moved = lambda s: s.learner.params  # noqa: E731
    return Case(method, labelled_images(), {}, {"encoder": encoder}, moved, "loss", noisy=True, beside=("decoder",))


def uslt(axis_name: str | None = None, **options: Any) -> Case:
    """Neighbours of an image are those of its class, whose images look alike."""
    encoder, tx = conv_net((4,), None, axis_name=axis_name), options.pop("tx", optax.sgd(0.1))
    fixed = {"weak": lambda key, image: image + 0.1 * jax.random.uniform(key), "numbers": 2 * np.arange(ROWS), "clusters": 4}
    fixed |= {"heads": 2, "neighbours": 3, "threshold": 0.3, "adjustment": 1.0, "mean_momentum": 0.9}
    options = {**fixed, "axis_name": axis_name, **options}
    method = methods.uslt(encoder, tx, **options)
    given = {"images": Frozen({"image": images()}, {}, source="of a test")}
    batch = {"views": (images(), images() + 0.1 * images(1)), "label": LABELS, "index": 2 * jnp.arange(ROWS)}

    def init(key, batch, given, **start):
        state = method.init(key, batch, given, **start)
        near = (np.arange(ROWS)[:, None] + CLASSES * np.arange(1, 1 + state.neighbours.shape[1])) % ROWS
        return state._replace(neighbours=jnp.asarray(near, jnp.int32))

    return Case(
        method._replace(init=init), batch, given, {"encoder": encoder, "start": encoder}, lambda s: s.learner.params, "loss",
        noisy=True, still=lambda s: s.start.params, beside=("heads",), rounding=1e-5,
    )  # fmt: skip


SIAMESE = {
    "barlow_twins": siamese(methods.barlow_twins, "barlow_twins", weight=0.2),
    "byol": byol,
    "dino": siamese(
        methods.dino,
        "dino",
        "prototypes",
        "online_encoder",
        "target_projector",
        "target_prototypes",
        steps=40,
        steps_per_epoch=4,
        outputs=7,
        momentum=0.9,
        frozen_epochs=0,
    ),
    "moco": siamese(
        methods.moco,
        "probe",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        queue=32,
        momentum=0.9,
        symmetric=True,
    ),
    "moco_v2_plus": siamese(
        methods.moco_v2_plus,
        "probe",
        "predictor",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        noisy=True,
        steps=40,
        queue=32,
        momentum=0.9,
    ),
    "moco_v3": siamese(methods.moco_v3, "info_nce", "predictor", *FOLLOWERS, steps=40, momentum=0.9),
    "nnclr": siamese(methods.nnclr, "nnclr", "predictor", queue=32),
    "ressl": siamese(
        methods.ressl,
        "probe",
        "probe",
        *FOLLOWERS,
        probe=PROBE,
        tx=by_part(SLOW, probe=optax.sgd(4.0)),
        steps=40,
        queue=32,
        momentum=0.9,
    ),
    "simclr": siamese(methods.simclr, "nt_xent"),
    "simsiam": siamese(methods.simsiam, "simsiam", "predictor"),
    "swav": siamese(methods.swav, "swav", "prototypes", steps_per_epoch=4, prototypes=4, queue=32, queue_epoch=0, frozen_epochs=0),
    "vibcreg": siamese(methods.vibcreg, "vibcreg", invariance=2.0, variance=1.0, covariance=3.0),
    "vicreg": siamese(methods.vicreg, "vicreg", invariance=2.0, variance=1.0, covariance=0.5),
    "w_mse": siamese(methods.w_mse, "w_mse", tx=optax.sgd(1e-3), size=8, noisy=True),
    "twist": siamese(methods.twist, "twist", *FOLLOWERS, tx=optax.sgd(0.1), steps=40, momentum=0.9),
    "twist_labels": siamese(methods.twist_labels, "self_label", tx=optax.sgd(0.1), steps=40),
    "deepcluster_v2": deepcluster_v2,
    "fast_moco": siamese(methods.fast_moco, "info_nce", "predictor", *FOLLOWERS, temperature=0.2, momentum=0.9),
    "msbreg": siamese(methods.msbreg, "loss", "predictor", *FOLLOWERS, noisy=True, steps=40, tau=0.9, singular=0.5),
    "relicv2": siamese(methods.relicv2, "loss", "predictor", *FOLLOWERS, noisy=True, steps=40, large=2, negatives=3, momentum=0.9),
    "lc_loss": lc_loss,
    "mae": mae,
    "uslt": uslt,
}
