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

RNG = np.random.default_rng(7)
ONE, TWO = RNG.normal(size=(2, 8, 5)).astype(np.float32) * 2
MEAN = RNG.dirichlet(np.full(5, 0.8)).astype(np.float32)
EXTREME = np.array([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]], np.float32)
THRESHOLD = 0.455
SURE = softmax(ONE).max(-1) > THRESHOLD


def local(anchor, neighbour, mean, adjustment=5.0, temperature=0.25):
    """By probabilities, as the paper has it."""
    p = softmax(np.float64(neighbour) - adjustment * np.log(np.float64(mean))) ** (1 / temperature)
    t = p / p.sum(-1, keepdims=True)
    return np.sum(t * (np.log(t) - log_softmax(anchor)), -1)


def balanced(weak, strong, threshold, variant="mean"):
    """A row at a time, weighted as in the code."""
    p = softmax(weak)
    rows = np.flatnonzero(p.max(-1) > threshold)
    decided = p.argmax(-1)
    counts = np.bincount(decided[rows], minlength=p.shape[-1])
    weights = len(rows) / counts[decided[rows]]
    terms = -log_softmax(strong)[rows, decided[rows]] * weights
    if variant == "mean":
        return terms.sum() / weights.sum()
    return terms.sum() / len(p) / (np.count_nonzero(counts) if variant == "share" else 1)


def test_local_golden_over_three_steps(golden):
    g = golden("usl/uslt_local")
    options = {"adjustment": float(g["hp_adjustment_weight"]), "temperature": float(g["hp_sharpen_temperature"])}
    mean = jnp.full(5, 0.2)
    both = value_and_grad(lambda a, n, m: jnp.mean(losses.uslt_local(a, n, m, **options)), argnums=(0, 1))
    for step in range(3):
        anchors, neighbours = g["anchors"][step], g["neighbors"][step]
        value, (gradient, none) = both(anchors, neighbours, mean)
        same_value(value, g["loss_per_step"][step])
        same_gradient(gradient, g["grad_anchors"][step])
        assert not none.any() and not g["grad_neighbors"][step].any()
        mean = losses.uslt_mean(mean, neighbours, momentum=float(g["hp_momentum"]))
        same_value(mean, g[f"prob_ema_after_step{step}"])


@pytest.mark.parametrize(
    ("name", "variant"), [("uslt_global", "mean"), ("uslt_global_outside_mask", "batch"), ("uslt_global_renorm", "share")]
)
def test_global_golden(golden, name, variant):
    g = golden(f"usl/{name}")
    options = {"threshold": float(g["hp_threshold"]), "variant": variant}
    value, (none, gradient) = value_and_grad(lambda w, s: losses.uslt_global(w, s, **options), argnums=(0, 1))(
        g["weak"], g["strong"]
    )
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_strong"])
    assert not none.any() and not g["grad_weak"].any()


@pytest.mark.parametrize(("adjustment", "temperature"), [(5.0, 0.25), (1.0, 0.7), (0.0, 1.0)])
def test_local_oracle(adjustment, temperature):
    options = {"adjustment": adjustment, "temperature": temperature}
    same_value(losses.uslt_local(ONE, TWO, MEAN, **options), local(ONE, TWO, MEAN, **options), 2e-5)
    gradient = jax.jit(jax.grad(lambda a: jnp.mean(losses.uslt_local(a, TWO, MEAN, **options))))(ONE)
    same_gradient(gradient, differences(lambda a: local(a, TWO, MEAN, **options).mean(), ONE))
    same_value(losses.uslt_local(ONE, TWO, MEAN), losses.uslt_local(ONE, TWO, MEAN, adjustment=5, temperature=0.25), 0)
    none = jax.jit(jax.grad(lambda n, m: jnp.sum(losses.uslt_local(ONE, n, m)), argnums=(0, 1)))(TWO, MEAN)
    assert not any(g.any() for g in none)


def test_local_of_positions_is_that_of_rows():
    maps = [x.reshape(2, 4, 5) for x in (ONE, TWO)]
    same_value(losses.uslt_local(*maps, MEAN).reshape(8), np.float64(losses.uslt_local(ONE, TWO, MEAN)), 1e-6)


def test_without_adjustment_and_sharpening_it_is_distillation():
    found = losses.uslt_local(ONE, TWO, MEAN, adjustment=0, temperature=1)
    same_value(found, np.float64(losses.kl_distillation(ONE, TWO, temperature=1.0)))
    even = losses.uslt_local(ONE, TWO, np.full(5, 0.2, np.float32), temperature=1)  # an even mean raises nothing
    same_value(even, np.float64(found))


def test_local_extreme_masked_and_equal_logits():
    third = np.full(3, 1 / 3, np.float32)
    both = value_and_grad(lambda a, n, m: jnp.sum(losses.uslt_local(a, n, m)))
    value, gradient = both(EXTREME, EXTREME[::-1], third)
    assert np.isfinite(value) and value > 1e4 and jnp.all(jnp.isfinite(gradient))
    value, gradient = both(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), third)
    assert abs(value) < 1e-6 and jnp.max(jnp.abs(gradient)) < 1e-6
    # A cluster that no batch has used.
    value, gradient = both(EXTREME, EXTREME[::-1], np.float32([0, 1, 0]))
    assert np.isfinite(value) and jnp.all(jnp.isfinite(gradient))
    masked = [np.pad(x, ((0, 0), (0, 1)), constant_values=-np.inf) for x in (ONE, TWO)]
    value, gradient = both(*masked, np.append(MEAN, np.float32(0)))
    same_value(value, local(ONE, TWO, MEAN).sum(), 1e-4)
    assert jnp.all(jnp.isfinite(gradient)) and not gradient[:, -1].any()


def test_the_mean_follows_the_batch():
    same_value(losses.uslt_mean(MEAN, ONE, momentum=0.8), (0.8 * np.float64(MEAN) + 0.2 * softmax(ONE).mean(0)) / 1.0)
    same_value(losses.uslt_mean(3 * MEAN, ONE, momentum=1.0), np.float64(MEAN))  # the sum becomes 1
    assert losses.uslt_mean(jnp.asarray(MEAN, jnp.bfloat16), ONE).dtype == jnp.bfloat16
    assert not jax.grad(lambda x: jnp.sum(losses.uslt_mean(MEAN, x) ** 2))(ONE).any()
    halves_equal_whole(lambda x, axis_name: jnp.sum(losses.uslt_mean(MEAN, x, axis_name=axis_name) ** 2 + jnp.mean(0 * x)), ONE)


@pytest.mark.parametrize("variant", ["mean", "share", "batch"])
def test_global_oracle(variant):
    assert 2 < SURE.sum() < 8 and len(set(np.bincount(softmax(ONE).argmax(-1)[SURE]))) > 1
    value, gradient = value_and_grad(lambda s: losses.uslt_global(ONE, s, threshold=THRESHOLD, variant=variant))(TWO)
    same_value(value, balanced(ONE, TWO, THRESHOLD, variant))
    same_gradient(gradient, differences(lambda s: balanced(ONE, s, THRESHOLD, variant), TWO))
    assert not jax.jit(jax.grad(lambda w: losses.uslt_global(w, TWO, threshold=THRESHOLD, variant=variant)))(ONE).any()
    halves = np.stack([ONE, TWO], axis=1)
    assert SURE[:4].sum() != SURE[4:].sum()
    halves_equal_whole(
        lambda x, axis_name: losses.uslt_global(x[:, 0], x[:, 1], threshold=THRESHOLD, variant=variant, axis_name=axis_name), halves
    )


def test_of_one_image_a_cluster_it_is_self_label():
    weak = 5 * np.eye(5, dtype=np.float32)
    found = losses.uslt_global(weak, ONE[:5], threshold=0.9)
    same_value(found, np.float64(losses.self_label(weak, ONE[:5], threshold=0.9)))
    # A second image of a cluster does not change what the others weigh.
    again = losses.uslt_global(np.concatenate([weak, weak[:1]]), np.concatenate([ONE[:5], ONE[:1]]), threshold=0.9)
    same_value(again, np.float64(found))


@pytest.mark.parametrize("variant", ["mean", "share", "batch"])
def test_what_is_not_sure_counts_nothing(variant):
    options = {"variant": variant, "threshold": THRESHOLD}
    spoiled = TWO.copy()
    spoiled[~SURE] = np.nan
    value, gradient = value_and_grad(lambda s: losses.uslt_global(ONE, s, **options))(spoiled)
    same_value(value, balanced(ONE, TWO, THRESHOLD, variant))
    assert jnp.all(jnp.isfinite(gradient)) and not gradient[~SURE].any()
    value, gradient = value_and_grad(lambda s: losses.uslt_global(ONE, s, variant=variant, threshold=1.0))(TWO)
    assert value == 0 and not gradient.any()
    even = np.zeros((4, 2), np.float32)  # one half does not exceed one half
    assert losses.uslt_global(even, even, threshold=0.5, variant=variant) == 0


def test_global_extreme_logits():
    value, gradient = value_and_grad(lambda s: losses.uslt_global(EXTREME[::-1], s, threshold=0.5))(EXTREME)
    same_value(value, balanced(EXTREME[::-1], EXTREME, 0.5))
    assert jnp.all(jnp.isfinite(gradient))
    # Decided for a cluster that the strong view has masked.
    strong = np.where(np.eye(5, dtype=bool)[0], -np.inf, TWO).astype(np.float32)
    assert losses.uslt_global(50 * np.eye(5, dtype=np.float32), strong[:5], threshold=0.5) == np.inf


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda a, n: losses.uslt_local(a, n, MEAN), ONE, TWO)
    bfloat16_reduces_in_float32(lambda s, w: losses.uslt_global(w, s, threshold=0.4), TWO, ONE)


def test_options_may_be_traced():
    many = jax.jit(jax.vmap(lambda a, t: losses.uslt_local(ONE, TWO, MEAN, adjustment=a, temperature=t)))
    same_value(many(jnp.array([5.0, 1.0]), jnp.array([0.25, 0.7])), [local(ONE, TWO, MEAN), local(ONE, TWO, MEAN, 1.0, 0.7)], 2e-5)
    many = jax.jit(jax.vmap(lambda t: losses.uslt_global(ONE, TWO, threshold=t)))
    same_value(many(jnp.array([0.3, THRESHOLD])), [balanced(ONE, TWO, t) for t in (0.3, THRESHOLD)])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.uslt_local(ONE, TWO[:, :4], MEAN), ["neighbour", "(8, 4)", "anchor"]),
        (lambda: losses.uslt_local(ONE, TWO, MEAN[:4]), ["mean", "(4,)", "same K"]),
        (lambda: losses.uslt_local(ONE, TWO, MEAN, temperature=0), ["temperature=0"]),
        (lambda: losses.uslt_local(ONE, TWO, MEAN, adjustment=np.inf), ["adjustment=inf", "finite"]),
        (lambda: losses.uslt_mean(MEAN[:4], ONE), ["neighbour", "(8, 5)", "mean", "(4,)"]),
        (lambda: losses.uslt_mean(MEAN, ONE, momentum=1.5), ["momentum=1.5", "[0, 1]"]),
        (lambda: losses.uslt_global(ONE, TWO[:3]), ["strong", "(3, 5)", "weak"]),
        (lambda: losses.uslt_global(ONE, TWO, threshold=95), ["threshold=95", "[0, 1]"]),
        (lambda: losses.uslt_global(ONE, TWO, variant="sum"), ["variant='sum'", "'mean' or 'share' or 'batch'"]),
    ],
)
def test_refused_in_one_line(call, words):
    refused(call, words)
