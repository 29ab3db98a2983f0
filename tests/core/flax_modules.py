"""Small modules of Flax, and how their nets are compared."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4, name="dense")(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn")(x))


class Blocks(nn.Module):
    """Two blocks and a layer; with `remat` the blocks are computed again on the way back."""

    remat: bool = False

    @nn.compact
    def __call__(self, x, train):
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        hidden = block(name="a")(x, train)
        return {"hidden": hidden, "logits": nn.Dense(2, name="head")(block(name="b")(hidden, train))}


class DropoutNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(x)


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"][None]


class Counting(nn.Module):
    @nn.compact
    def __call__(self, x):
        calls = self.variable("counters", "calls", lambda: jnp.int32(0))
        if self.is_mutable_collection("counters") and not self.is_initializing():
            calls.value += 1
        return x


class Deterministic(nn.Module):
    """Flax's own idiom, and Hugging Face's: evaluation by default."""

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.BatchNorm(use_running_average=deterministic, momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=deterministic)(x)


class Averaging(nn.Module):
    """The names of two layers; one of the switches has to be given."""

    @nn.compact
    def __call__(self, x, *, use_running_average, is_training=False):
        x = nn.BatchNorm(momentum=0.9, name="bn")(x, use_running_average)
        return nn.Dropout(0.5)(x, deterministic=not is_training)


class Field(nn.Module):
    training: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.training, momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=not self.training)(x)


class Unusual(nn.Module):
    @nn.compact
    def __call__(self, x, mode="test"):
        x = nn.BatchNorm(use_running_average=mode == "test", momentum=0.9, name="bn")(x)
        return nn.Dropout(0.5, deterministic=mode == "test")(x)


class OwnNorm(nn.Module):
    """A norm that is not Flax's own; it has no switch."""

    @nn.compact
    def __call__(self, x):
        return x - self.variable("batch_stats", "mean", jnp.zeros, 3).value[None]


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])
        self.bn = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        hidden = jax.nn.relu(self.bn(self.layers[0](x)))
        return {"hidden": hidden, "logits": self.layers[1](self.dropout(hidden))}


def same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **({"rtol": 0} | tolerance)), a, b)


def differ(a, b):
    return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def mode(train):
    return {"mode": "train" if train else "test"}


def acts_in_training_only(net, key=jax.random.key(3)):
    params, stats = net.init(KEY, X)
    apply = jax.jit(lambda train: net.apply(params, stats, X, train=train, key=key), static_argnums=0)
    (trained, new), (tested, old) = apply(True), apply(False)
    means = lambda tree: next(x for path, x in jax.tree_util.tree_leaves_with_path(tree) if "mean" in str(path))  # noqa: E731
    same(means(new), 0.1 * X.mean(0), atol=1e-6)
    same(old, stats)
    dropped = trained["logits"] == 0
    assert 0 < dropped.sum() < dropped.size and not (tested["logits"] == 0).any()


class NNXSwitched(nnx.Module):
    """An argument that overrules the mode of the module."""

    def __init__(self, rngs):
        self.bn = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, deterministic=True):
        return self.dropout(self.bn(x, use_running_average=deterministic), deterministic=deterministic)


class NNXFlags(NNXSwitched):
    """A flag of its own."""

    def __init__(self, rngs):
        super().__init__(rngs)
        self.training = False

    def __call__(self, x):
        return super().__call__(x, not self.training)


class Sowing(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.Dense(3, name="output")(x)
        for k in range(2):
            self.sow("intermediates", "twice", k * hidden)
        self.sow("intermediates", "hidden", hidden)
        return nn.relu(hidden) + jax.random.normal(self.make_rng("noise"), hidden.shape)


class Pair(nn.Module):
    """Two inputs, and an output as Hugging Face's."""

    @nn.compact
    def __call__(self, x, y, deterministic=True):
        first = Sowing(name="first")(x)
        second = Sowing(name="second")(first)
        return {"logits": nn.Dropout(0.5)(first + y, deterministic=deterministic), "states": (first, second), "attentions": None}
