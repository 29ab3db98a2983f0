import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    softmax,
    value_and_grad,
)

from kdjax import losses

RNG = np.random.default_rng(6)
ONE, TWO = RNG.normal(size=(2, 6, 5)).astype(np.float32) * 2
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)


def parts(a, b, temperature=1.0, epsilon=1e-5):
    """Agreement, sharpness and diversity."""
    a, b = np.float64(a), np.float64(b)
    p, q, s, r = softmax(a), softmax(b), softmax(a / temperature), softmax(b / temperature)

    def log(x):
        return np.log(x + epsilon)

    agreement = ((p * (log(p) - log(q))).sum(-1).mean() + (q * (log(q) - log(p))).sum(-1).mean()) / 2
    sharpness = -((s * log(s)).sum(-1).mean() + (r * log(r)).sum(-1).mean()) / 2
    diversity = -((s.mean(0) * log(s.mean(0))).sum() + (r.mean(0) * log(r.mean(0))).sum()) / 2
    return np.array([agreement, sharpness, diversity])


def labelled(weak, strong, threshold):
    sure = softmax(weak).max(-1) > threshold
    return -log_softmax(strong)[sure, np.argmax(weak, -1)[sure]].mean()


def test_golden(golden):
    g = golden("twist/ent_loss")
    options = {
        "lam1": float(g["hp_lam1"]), "lam2": float(g["hp_lam2"]), "temperature": float(g["hp_tau"]), "epsilon": float(g["hp_eps"])
    }  # fmt: skip
    value, gradients = value_and_grad(lambda a, b: losses.twist(a, b, **options), argnums=(0, 1))(g["feat1"], g["feat2"])
    same_value(value, g["loss"])
    for gradient, name in zip(gradients, ("feat1", "feat2"), strict=True):
        same_gradient(gradient, g[f"grad_{name}"])
    agreement = losses.twist(g["feat1"], g["feat2"], lam1=-1, lam2=0)
    same_value(agreement, g["loss_kl"])
    same_value(losses.twist(g["feat1"], g["feat2"], lam2=0) - agreement, g["mean_entropy"])
    same_value(agreement - losses.twist(g["feat1"], g["feat2"], lam1=-1), g["entropy_of_mean"])


@pytest.mark.parametrize(("lam1", "lam2", "temperature", "epsilon"), [(-0.6, 1.0, 0.5, 1e-5), (0.3, 2.0, 1.0, 0.0)])
def test_oracle(lam1, lam2, temperature, epsilon):
    def expected(a, b):
        return parts(a, b, temperature, epsilon) @ [1, 1 + lam1, -lam2]

    def loss(a, b):
        return losses.twist(a, b, lam1=lam1, lam2=lam2, temperature=temperature, epsilon=epsilon)

    value, gradients = value_and_grad(loss, argnums=(0, 1))(ONE, TWO)
    same_value(value, expected(ONE, TWO))
    same_gradient(gradients[0], differences(lambda a: expected(a, TWO), ONE))
    same_gradient(gradients[1], differences(lambda b: expected(ONE, b), TWO))


def test_agreement_and_sharpness_are_the_cross_entropy_of_views():
    crossed = [-(softmax(a) * log_softmax(b)).sum(-1).mean() for a, b in ((ONE, TWO), (TWO, ONE))]
    same_value(losses.twist(ONE, TWO, lam2=0, epsilon=0), np.mean(crossed))


@pytest.mark.parametrize("epsilon", [1e-5, 0.0])
def test_extreme_masked_and_equal_logits(epsilon):
    both = value_and_grad(lambda a, b: losses.twist(a, b, epsilon=epsilon), argnums=(0, 1))
    value, gradients = both(EXTREME, EXTREME[::-1])
    # Without epsilon a divergence counts the distance of the logits, 1e4, though its probability rounds to 0.
    assert (2e4 if epsilon == 0 else 10) > value > (4e3 if epsilon == 0 else 1)
    assert all(jnp.all(jnp.isfinite(g)) for g in gradients)
    value, gradients = both(EXTREME, EXTREME)
    assert np.isfinite(value) and all(jnp.all(jnp.isfinite(g)) for g in gradients)

    masked = [np.pad(x, ((0, 0), (0, 1)), constant_values=-np.inf) for x in (ONE, TWO)]
    value, gradients = both(*masked)
    same_value(value, parts(ONE, TWO, epsilon=epsilon) @ [1, 1, -1])
    for gradient, right in zip(gradients, both(ONE, TWO)[1], strict=True):
        same_gradient(gradient, np.pad(np.float64(right), ((0, 0), (0, 1))), 1e-5)

    zero = np.zeros_like(ONE)
    value, gradients = both(zero, zero)  # neither sharp nor, in one class, diverse: log 5 - log 5
    assert abs(value) < 1e-6 and all(jnp.max(jnp.abs(g)) < 1e-6 for g in gradients)


def taught(student, teacher, lam1=-0.6, lam2=1.0, temperature=1.0, epsilon=1e-5):
    s, t = softmax(np.float64(student) / temperature), softmax(np.float64(teacher) / temperature)

    def log(x):
        return np.log(x + epsilon)

    pairs = [(a, v) for a in range(len(t)) for v in range(len(s)) if a != v]
    agreement = np.mean([(t[a] * (log(t[a]) - log(s[v]))).sum(-1).mean() for a, v in pairs])
    return agreement - (1 + lam1) * (s * log(s)).sum(-1).mean() + lam2 * (s.mean(1) * log(s.mean(1))).sum(-1).mean()


def test_a_teacher_of_the_first_views():
    views, slow = np.stack([ONE, TWO, ONE[::-1]]), np.stack([TWO[::-1], ONE * 2])
    for options in ({}, {"lam1": 0.3, "lam2": 2.0, "temperature": 0.5, "epsilon": 0.0}):
        value, gradients = value_and_grad(lambda s, t, o=options: losses.twist_teacher(s, t, **o), argnums=(0, 1))(views, slow)
        same_value(value, taught(views, slow, **options))
        same_gradient(gradients[0], differences(lambda s, o=options: taught(s, slow, **o), views))
        assert not gradients[1].any()
    rows = np.concatenate([views, slow]).swapaxes(0, 1)
    halves_equal_whole(
        lambda x, axis_name: losses.twist_teacher(x[:, :3].swapaxes(0, 1), x[:, 3:].swapaxes(0, 1), axis_name=axis_name), rows
    )
    bfloat16_reduces_in_float32(losses.twist_teacher, views, slow)


def test_a_teacher_that_is_the_student_is_the_loss_of_two_views():
    """In value: both divergences are there. The gradient has one side of them."""
    views = np.stack([ONE, TWO])
    same_value(losses.twist_teacher(views, views, lam1=0.0), np.float64(losses.twist(ONE, TWO)))
    extreme = np.stack([EXTREME, EXTREME[::-1]])
    value, gradient = value_and_grad(losses.twist_teacher)(extreme, extreme)
    assert np.isfinite(value) and jnp.all(jnp.isfinite(gradient))


def test_self_label_golden(golden):
    g = golden("twist/self_label_ce")
    threshold = float(g["hp_threshold"])
    loss = value_and_grad(lambda s: losses.self_label(g["anchors_weak"], s, threshold=threshold))
    value, gradient = loss(g["anchors_strong"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_anchors_strong"])
    assert 0 < np.count_nonzero(softmax(g["anchors_weak"]).max(-1) > threshold) < 10


def test_self_label_oracle():
    value, gradient = value_and_grad(lambda s: losses.self_label(ONE, s, threshold=0.6))(TWO)
    same_value(value, labelled(ONE, TWO, 0.6))
    same_gradient(gradient, differences(lambda s: labelled(ONE, s, 0.6), TWO))
    assert not jax.jit(jax.grad(lambda w: losses.self_label(w, TWO, threshold=0.6)))(ONE).any()


def test_self_label_counts_what_is_above_the_threshold_alone():
    sure = softmax(ONE).max(-1)
    edge = np.float32(np.sort(sure)[::-1][3])  # of the fourth: three lie above it
    best = np.argsort(-sure)[:3]
    logits = np.log(np.float32([[0.5, 0.5], [0.75, 0.25]]))
    same_value(losses.self_label(logits, logits, threshold=0.5), -np.log(0.75))  # the first does not exceed one half
    spoiled = TWO.copy()
    spoiled[np.argsort(-sure)[4:]] = np.nan
    value, gradient = value_and_grad(lambda s: losses.self_label(ONE, s, threshold=edge + 1e-6))(spoiled)
    same_value(value, labelled(ONE[best], TWO[best], 0.0))
    assert jnp.all(jnp.isfinite(gradient))
    value, gradient = value_and_grad(lambda s: losses.self_label(ONE, s, threshold=1.0))(TWO)
    assert value == 0 and not gradient.any()


def test_self_label_extreme_logits():
    value, gradient = value_and_grad(lambda s: losses.self_label(EXTREME[::-1], s, threshold=0.5))(EXTREME)
    same_value(value, labelled(EXTREME[::-1], EXTREME, 0.5))
    assert jnp.all(jnp.isfinite(gradient))


def test_two_halves_equal_the_whole():
    rows = np.stack([ONE, TWO], axis=1)
    halves_equal_whole(lambda x, axis_name: losses.twist(x[:, 0], x[:, 1], temperature=0.7, axis_name=axis_name), rows)
    sure = softmax(ONE).max(-1) > 0.52
    assert sure[:3].sum() != sure[3:].sum()
    halves_equal_whole(lambda x, axis_name: losses.self_label(x[:, 0], x[:, 1], threshold=0.52, axis_name=axis_name), rows)


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.twist, ONE, TWO)
    bfloat16_reduces_in_float32(lambda s, w: losses.self_label(w, s, threshold=0.5), TWO, ONE)


def test_options_may_be_traced():
    many = jax.jit(jax.vmap(lambda lam, t, e: losses.twist(ONE, TWO, lam2=lam, temperature=t, epsilon=e)))
    values = many(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.5]), jnp.array([1e-5, 0.0]))
    same_value(values, [parts(ONE, TWO) @ [1, 1, -1], parts(ONE, TWO, 0.5, 0.0) @ [1, 1, -2]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.twist(ONE, TWO[:3]), ["logits2", "(3, 5)", "logits1"]),
        (lambda: losses.twist(ONE[0], TWO[0]), ["logits1", "(5,)", "[B, K]"]),
        (lambda: losses.twist(ONE[:1], TWO[:1]), ["twist", "1 row", "2 or more"]),
        (lambda: losses.twist(ONE, TWO, temperature=0), ["temperature=0"]),
        (lambda: losses.twist(ONE, TWO, epsilon=-1e-5), ["epsilon=-1e-05", "at least 0"]),
        (lambda: losses.twist(ONE, TWO, lam1=np.nan), ["lam1=nan", "finite"]),
        (lambda: losses.twist_teacher(ONE[None], TWO[None]), ["student has 1 view", "2 views or more"]),
        (lambda: losses.twist_teacher(ONE[:1, None].repeat(2, 0), TWO[:1, None]), ["twist", "1 row"]),
        (lambda: losses.self_label(ONE, TWO[:, :3], threshold=0.5), ["strong", "(6, 3)", "weak"]),
        (lambda: losses.self_label(ONE, TWO, threshold=50), ["threshold=50", "[0, 1]"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
