import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, transformer
from tiny_nets import images

from kdjax import losses, methods
from kdjax.core import InputError
from kdjax.methods.offline.tinymim import tinymim_objective


def blocks(g, who, tokens):
    """The taps of a net of one block with the reference file's layer, whose columns are [q | k | v], each head by head."""
    joint = tokens @ g[f"w_{who}_qkv_kernel"] + g[f"w_{who}_qkv_bias"].reshape(1, 1, -1)
    split = jnp.transpose(joint.reshape(*joint.shape[:2], 3, int(g["hp_num_heads"]), -1), (2, 0, 3, 1, 4))
    return {"block1": tokens} | dict(zip(("block1_query", "block1_key", "block1_value"), split, strict=True))


def test_golden(golden):
    g = golden("tinymim/relation")
    teacher = blocks(g, "teacher", jnp.asarray(g["tokens_t"]))

    def loss(tokens, **options):
        objective = tinymim_objective(**options)
        [(name, term)] = objective.terms(look(blocks(g, "student", tokens), teacher), {}).items()
        return objective.weights[name] * jnp.mean(term)

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(g["tokens_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, g["grad_tokens_s"], atol=1e-5 * np.abs(g["grad_tokens_s"]).max())
    np.testing.assert_allclose(loss(jnp.asarray(g["tokens_s"]), value_value=0.0), g["loss_qk"], rtol=1e-5)
    np.testing.assert_allclose(loss(jnp.asarray(g["tokens_s"]), weight=2.0, query_key=0.0), 2 * g["loss_vv"], rtol=1e-5)


def taps(net, seed=0):
    params, stats = net.init(jax.random.key(seed), images())
    return net.apply(params, stats, images(), train=False)[0]


def test_a_student_that_is_its_teacher_has_nothing_to_learn_and_the_block_is_the_teacher_s():
    own = taps(transformer())
    assert jnp.all(jnp.abs(tinymim_objective().terms(look(own, own), {})["relations"]) < 1e-7)
    first = tinymim_objective(block=1).terms(look(own, own), {})["relations"]
    parts = ("query", "key", "value")
    by_hand = losses.token_relation(*(tuple(own[f"block{n}_{part}"] for part in parts) for n in (2, 1)))
    assert jnp.all(first > 0) and jnp.array_equal(first, by_hand)


def test_refusals():
    own = taps(transformer())
    with pytest.raises(InputError, match=r"the student's block2 has 4 heads, the teacher's block1 has 2: .* last_heads=2"):
        tinymim_objective(block=1).terms(look(taps(transformer(last_heads=4)), own), {})
    with pytest.raises(InputError, match=r"^block=3 is not accepted: expected 1 to 2, the teacher's blocks"):
        tinymim_objective(block=3).terms(look(own, own), {})
    with pytest.raises(InputError, match="the student has no blocks with attention"):
        tinymim_objective().terms(look({"stage1": jnp.zeros(())}, own), {})


def test_the_defaults_are_the_authors_and_there_are_no_labels():
    assert defaults(methods.tinymim) == {"weight": 1.0, "block": 0, "query_key": 1.0, "value_value": 1.0}
