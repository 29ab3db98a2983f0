import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses, models
from kdjax.core import InputError
from kdjax.models import bidirectional_transformer, causal_transformer

TOKENS = np.random.default_rng(0).integers(0, 7, (2, 6)).astype(np.int32)
NET = causal_transformer(8, 2, 2, 7)
WEIGHTS = NET.init(jax.random.key(0), TOKENS)


def taps(tokens):
    return jax.jit(lambda x: NET.apply(*WEIGHTS, x, train=False)[0])(tokens)


def test_a_token_sees_none_behind_it():
    found = taps(TOKENS)
    assert {name: x.shape for name, x in found.items()} == {
        "block1": (2, 6, 8), "block2": (2, 6, 8), "hidden": (2, 6, 8), "logits": (2, 6, 7)
    }  # fmt: skip
    changed = TOKENS.copy()
    changed[:, 3] = (changed[:, 3] + 1) % 7
    other = taps(changed)
    np.testing.assert_array_equal(found["logits"][:, :3], other["logits"][:, :3])
    assert (np.abs(found["logits"] - other["logits"])[:, 3:].max(-1) > 1e-6).all()


def test_its_head_is_that_of_losses_in_chunks():
    found, head = taps(TOKENS), WEIGHTS[0]["classifier"]["kernel"]
    np.testing.assert_allclose(found["hidden"] @ head, found["logits"], atol=1e-5)
    each = losses.in_chunks(lambda s, t: losses.cross_entropy(s, jnp.argmax(t, -1)), *(found["hidden"], head) * 2, size=4)
    np.testing.assert_allclose(each, losses.cross_entropy(found["logits"], jnp.argmax(found["logits"], -1)), rtol=1e-4)


def test_by_name():
    net = models.build({"name": "causal_transformer", "width": 8, "depth": 2, "heads": 2, "classes": 7, "dtype": "bfloat16"})
    shapes = jax.eval_shape(lambda: net.apply(*net.init(jax.random.key(0), TOKENS), TOKENS, train=True)[0])
    assert shapes["logits"].dtype == jnp.float32 and shapes["block1"].dtype == jnp.bfloat16


def test_bidirectional_tokens_see_all_others():
    each, whole = (bidirectional_transformer(8, 1, 2, 7, tokens=7, pooled=pooled) for pooled in (False, True))
    params, stats = each.init(jax.random.key(0), TOKENS)
    assert params["embed"]["embedding"].shape == (8, 8)  # the last one is the mask
    apply = jax.jit(lambda x: [net.apply(params, stats, x, train=False)[0] for net in (each, whole)])
    found, pooled = apply(TOKENS)
    assert found["logits"].shape == (2, 6, 7) and pooled["logits"].shape == (2, 7)
    other = apply(np.where(np.arange(6) == 3, 7, TOKENS))[0]
    assert (np.abs(found["logits"] - other["logits"]).max(-1) > 1e-6).all()
    np.testing.assert_allclose(pooled["pooled"], np.mean(found["hidden"], 1), atol=1e-6)
    np.testing.assert_allclose(pooled["logits"], np.mean(found["logits"], 1), atol=1e-5)  # the linear layer has no bias


@pytest.mark.parametrize(("sizes", "line"), [((8, 0, 2), "depth=0"), ((9, 1, 2), "width=9 .* multiple of heads=2")])
def test_refusals(sizes, line):
    for net in (causal_transformer, bidirectional_transformer):
        with pytest.raises(InputError, match=line):
            net(*sizes)
