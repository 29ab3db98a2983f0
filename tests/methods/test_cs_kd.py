import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, start, student_of
from own_lessons import KEY, same_as_golden, seen_of, total
from tiny_nets import ROWS, small, without_batch_norm

from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.cs_kd import cs_kd_objective
from kdjax.methods.self_distil.ddgsd import ddgsd_objective
from kdjax.methods.self_distil.rows import anchors_of_pairs


@pytest.mark.parametrize("name", ["cs_kd/cs_kd", "self_kd_lib/cs_kd"])
def test_golden(golden, name):
    g = golden(name)
    n = len(g["logits"]) // 2
    objective = cs_kd_objective(weight=float(g.get("hp_lamda", 1.0)), temperature=g["hp_temperature"].item())
    whole = combine(labels_objective(), objective)

    def loss(logits):
        partner = jax.lax.stop_gradient(logits[n:])
        return total(whole, seen_of({"logits": logits[:n]}, g["labels"][:n], partner={"logits": partner}))

    same_as_golden(g, loss, "logits")


def test_an_image_that_is_its_own_partner_teaches_nothing():
    case = CASES["cs_kd"](net=without_batch_norm())
    twice = jax.tree.map(lambda x: jnp.repeat(x[::2], 2, axis=0), case.batch)
    _, metrics = jax.jit(case.method.step)(start(case), twice, KEY)
    assert abs(metrics["class_wise"]) < 1e-6


def test_partners_move_the_statistics_and_get_no_gradient():
    """Two passes, each with batch statistics of its own; at weight 0 the anchors learn as they do alone."""
    case = CASES["cs_kd"](weight=0.0)
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    net, (params, stats) = small(), student_of(state)
    for part in (0, 1):
        _, stats = net.apply(params, stats, case.batch["image"][part::2], train=True)
    close(student_of(new)[1], stats, atol=1e-6)
    alone = CASES["supervised"](net=net)
    anchors = jax.tree.map(lambda x: x[::2], case.batch)
    plain, _ = jax.jit(alone.method.step)(start(alone._replace(batch=anchors)), anchors, KEY)
    close(student_of(new)[0], student_of(plain)[0], atol=1e-6)


def test_a_sum_of_two_that_want_other_rows_is_refused():
    with pytest.raises(InputError, match="other rows of a batch, anchors of pairs and both views"):
        combine(cs_kd_objective(), ddgsd_objective())
    assert combine(labels_objective(), cs_kd_objective()).sees is anchors_of_pairs


def test_gradient_is_of_the_anchors_alone():
    case = CASES["cs_kd"](net=without_batch_norm(), label_weight=0.0)
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    params = state.learner.params["student"]
    taps, _ = without_batch_norm().apply(params, {}, case.batch["image"], train=True)
    z, pooled = np.float64(taps["logits"]), np.asarray(taps["pooled"])
    soft = np.exp(z / 4) / np.exp(z / 4).sum(-1, keepdims=True)
    slope = 4 * (soft[::2] - soft[1::2]) / (ROWS // 2)
    np.testing.assert_allclose(params["b"] - new.learner.params["student"]["b"], 0.5 * pooled[::2].T @ slope, atol=1e-6)
