"""Every loss under every transform and dtype, as far as tracing goes: what a program of somebody else may do with it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_losses_devices import CASES as ON_DEVICES
from test_losses_devices import LABELS, MAPS, S, T, mesh
from test_losses_positions import LABELS as PLACES
from test_losses_positions import POSITIONS, SOFT, WHERE
from test_losses_positions import STUDENT as LOGITS
from test_losses_positions import TEACHER as THEIRS
from test_losses_where import BATCH, EACH, HEADS, MEANS, THEIR_HEADS, TOKENS

from kdjax import losses

SCORES, QUEUE = S[:, 0].copy(), T[:, :5].copy()
JOINT = np.tile(S[:4], (1, 4))[:, :12].copy()  # of 4 rotations and 3 classes


def critic(x):
    return jnp.sum(jnp.tanh(x), axis=tuple(range(1, x.ndim)))


# Of arrays of floats, the first of which is differentiated.
CASES = {
    **{name: (partial(loss, axis_name=None), *rows) for name, (loss, *rows) in ON_DEVICES.items()},
    **{name: (lambda s, t, f=f: f(s, t, PLACES, SOFT, {}), LOGITS, THEIRS) for name, f in POSITIONS.items()},
    **EACH,
    **{name: (loss, S, T) for name, loss in BATCH.items()},
    **{name: (loss, *TOKENS) for name, loss in MEANS.items()},
    "attention_below": (losses.attention_below, MAPS, MAPS[:, :2, :2].copy()),
    "bounded": (partial(losses.bounded, bound=0.5), SCORES),
    "gan_critic": (partial(losses.gan_critic, kind="hinge"), SCORES, SCORES[::-1].copy()),
    "gan_generator": (partial(losses.gan_generator, kind="non_saturating"), SCORES),
    "gradient_penalty": (lambda a, b, m: losses.gradient_penalty(critic, a, b, m), MAPS, 2 * MAPS, np.full(8, 0.3, np.float32)),
    "in_chunks": (lambda h, w: losses.in_chunks(losses.reverse_kl, h, w, 2 * h, w, size=3), S, T.T.copy()),
    "joint_cross_entropy": (lambda x: losses.joint_cross_entropy([x, x], np.array([1])), JOINT),
    "local_contrast": (losses.local_contrast, MAPS, 2 * MAPS, np.abs(np.sin(MAPS[..., :2]))),
    "min_logit": (lambda z: losses.min_logit(z, LABELS), np.stack([S, T])),
    "moco": (partial(losses.moco, temperature=0.2), S, T, QUEUE),
    "nearest": (losses.nearest, S, QUEUE),
    "overhaul_margin": (losses.overhaul_margin, S[0], T[0]),
    "peer_attention": (losses.peer_attention, np.stack([S, T]), np.stack([T, S])),
    "r1": (lambda x: losses.r1(critic, x), MAPS),
    "random_walk": (losses.random_walk, S, T),
    "ressl": (partial(losses.ressl, query_temperature=0.1, key_temperature=0.04), S, T, QUEUE),
    "self_paced": (lambda x: x * losses.self_paced(x, age=1.0), np.abs(SCORES)),
    "simsiam": (losses.simsiam, S, T),
    "standardise": (losses.standardise, S),
    "told_apart": (losses.told_apart, S[:, :2].copy(), T[:, :2].copy()),
    "token_relation": (losses.token_relation, HEADS, THEIR_HEADS),
    "uslt_local": (losses.uslt_local, S, T, np.full(5, 0.2, np.float32)),
    "view_centroid": (losses.view_centroid, np.stack([S, T]), np.stack([T, S])),
    "w_mse": (losses.w_mse, S, T),
}
NO_FLOATS = {"crd_bank", "joint_labels"}  # of a key or integers alone
ELSEWHERE = {"keyed_labels", "mixskd_terms", "watermark_score"}  # of marks, and of many arrays of one call
OF_ARRAYS = {  # the calls above reckon with arrays
    "crd_contrast", "deepcluster", "dino", "dino_centre", "hierarchical_distillation", "image_contrast", "in_chunks",
    "masked_patches", "nt_xent", "relic_invariance", "self_paced", "sinkhorn", "swav", "top_k_kl", "twist_teacher", "uslt_mean",
    "whiten",
}  # fmt: skip
# What the calls above bring along has a dtype of its own, or comes back as it went in.
OWN_DTYPE = {"crd", "crd_constants", "crd_contrast", "crd_update", "nearest", "uslt_mean"}
ONLY_REVERSE = {"in_chunks"}  # its way back is written by hand


def scalar(loss):
    return lambda *arrays: sum(jnp.sum(jnp.asarray(x, jnp.float32)) for x in jax.tree.leaves(loss(*arrays)))


def shapes(function, *arrays):
    return jax.eval_shape(function, *arrays)


def dtypes(tree):
    return {x.dtype.name for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


@pytest.mark.parametrize("name", CASES)
def test_transforms(name):
    loss, *arrays = CASES[name]
    first, total = arrays[0], scalar(loss)
    plain = shapes(loss, *arrays)
    assert shapes(jax.grad(total), *arrays).shape == first.shape
    assert shapes(jax.grad(jax.checkpoint(total)), *arrays).shape == first.shape

    twice = shapes(jax.vmap(loss), *(np.stack([x, x]) for x in arrays))
    assert jax.tree.map(lambda x: x.shape, twice) == jax.tree.map(lambda x: (2, *x.shape), plain)
    scanned = shapes(lambda *xs: jax.lax.scan(lambda c, _: (c + total(*xs), None), jnp.float32(0), None, length=2)[0], *arrays)
    assert scanned.shape == ()
    if name not in ONLY_REVERSE:
        shapes(
            lambda *xs: jax.jvp(lambda x: jax.grad(total)(x, *xs[1:]), xs[:1], xs[:1]), *arrays
        )  # forward over reverse: a Hessian's column
        shapes(lambda *xs: jax.jvp(lambda x: loss(x, *xs[1:]), xs[:1], xs[:1]), *arrays)


@pytest.mark.parametrize("name", [name for name in CASES if name not in OWN_DTYPE])
def test_dtypes(name):
    loss, *arrays = CASES[name]
    floats = [x.dtype == np.float32 for x in arrays]
    low = [jnp.asarray(x, jnp.bfloat16) if f else x for x, f in zip(arrays, floats, strict=True)]
    assert dtypes(shapes(loss, *low)) <= {"float32"}
    with jax.numpy_dtype_promotion("strict"):
        shapes(loss, *arrays)
    with jax.enable_x64(True):
        assert dtypes(shapes(loss, *(np.float64(x) if f else x for x, f in zip(arrays, floats, strict=True)))) <= {"float64"}
        assert dtypes(shapes(loss, *arrays)) <= {"float32"}


QUEUES = {"moco", "nearest", "ressl"}  # behind the rows
SECOND_AXIS = {"min_logit", "peer_attention", "token_relation", "view_centroid"}  # rows stand behind peers, views, heads


@pytest.mark.parametrize("name", [name for name in CASES if name not in {*ON_DEVICES, "overhaul_margin"}])
def test_rows_on_explicit_axes(name):
    """What `jax.make_mesh` makes where nothing else is said, of losses whose rows do not see each other."""
    loss, *arrays = CASES[name]
    axis = int(name in SECOND_AXIS)
    rows, everywhere = (NamedSharding(mesh(AxisType.Explicit), spec) for spec in (P(*[None] * axis, "data"), P()))
    lie = [x.shape[axis : axis + 1] == arrays[0].shape[axis : axis + 1] and x.ndim > axis for x in arrays]
    lie[1:] = [there and name not in QUEUES for there in lie[1:]]
    placed = [jax.device_put(x, rows if there else everywhere) for x, there in zip(arrays, lie, strict=True)]
    gradient = jax.jit(jax.grad(scalar(loss))).trace(*placed).out_info
    assert gradient.sharding.spec[axis] == "data"


def counting(name):
    """A case, with rows or positions that do not count where it takes `where`."""
    loss, *arrays = CASES[name]
    if name in POSITIONS:
        return lambda s, t: POSITIONS[name](s, t, PLACES, SOFT, {"where": WHERE}), *arrays
    return partial(loss, where=np.arange(len(arrays[0])) % 3 > 0) if name in {*EACH, *BATCH} - MEANS.keys() else loss, *arrays


@pytest.mark.parametrize("name", [name for name in CASES if "," not in name])
def test_no_nan_on_the_way(name):
    loss, *arrays = counting(name)
    program = jax.make_jaxpr(jax.value_and_grad(scalar(loss)))(*arrays)
    if "inf" in str(program):  # a NaN that does not reach the end, but stops a program under `jax.debug_nans`, comes of infinity
        found, _ = jax.jit(checkify.checkify(jaxpr_as_fun(program), errors=checkify.nan_checks))(*arrays)
        found.throw()


@pytest.mark.parametrize("name", [name for name in CASES if name not in OF_ARRAYS])
def test_lists(name):
    loss, *arrays = CASES[name]
    lists = [x.tolist() if x.ndim <= 3 and x.dtype.kind in "fib" else x for x in arrays]  # keys have no list
    found = shapes(lambda: loss(*lists))
    assert jax.tree.map(lambda x: x.shape, found) == jax.tree.map(lambda x: x.shape, shapes(loss, *arrays))


def test_every_loss_is_above():
    above = {getattr(losses, name.split(",")[0], None) for name in CASES} | {getattr(losses, name) for name in NO_FLOATS}
    left = {name for name in losses.__all__ if getattr(losses, name) not in above}
    assert left <= ELSEWHERE, left
