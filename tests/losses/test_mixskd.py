import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
LOGITS = [(RNG.normal(size=(6, 4)) * 2).astype(np.float32) for _ in range(3)]
MAPS = [RNG.normal(size=(6, 3, 3, c)).astype(np.float32) for c in (2, 3, 4)]
ENSEMBLE, MIXED = (RNG.normal(size=(2, 3, 4)) * 2).astype(np.float32)
LABELS, ROWS, SHARE = np.array([0, 3, 1]), np.array([2, 0, 1]), 0.3
ARGS = (LOGITS, MAPS, ENSEMBLE, MIXED, LABELS, ROWS, SHARE)
SCORES = RNG.normal(size=(2, 5, 2)).astype(np.float32)


def kl(s, t, temperature=3.0):
    log_s, log_t = (log_softmax(np.float64(z) / temperature) for z in (s, t))
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def terms(logits, maps, ensemble, mixed, labels, rows, share, fixed=None):
    """`fixed`: the logits that stand where the targets are."""
    inter = lambda x: share * np.float64(x)[:3] + (1 - share) * np.float64(x)[:3][rows]  # noqa: E731
    ce = lambda z, y: -log_softmax(z)[np.arange(3), y]  # noqa: E731
    both = lambda z: share * ce(z, labels) + (1 - share) * ce(z, labels[rows])  # noqa: E731
    fixed = logits if fixed is None else fixed
    early = zip(logits[:-1], fixed[:-1], strict=True)
    return {
        "labels": sum(ce(z[:3], labels) for z in logits),
        "mixed_labels": sum(both(z[3:]) for z in logits) + both(ensemble) + both(mixed),
        "divergence": sum(kl(inter(z), t[3:]) + kl(z[3:], inter(t)) for z, t in early)
        + kl(inter(logits[-1]), mixed)
        + kl(logits[-1][3:], ensemble),
        "maps": sum(((inter(f) - np.float64(f)[3:]) ** 2).mean((1, 2, 3)) for f in maps),
    }


def apart(first, second):
    first, second = np.float64(first), np.float64(second)
    each = [
        np.logaddexp(0, -first[:, 0]),
        np.logaddexp(0, first[:, 1]),
        np.logaddexp(0, second[:, 0]),
        np.logaddexp(0, -second[:, 1]),
    ]
    return np.mean(each, axis=0)


def discriminator(g, k, f):
    hidden = jax.nn.relu(jnp.mean(f, axis=(1, 2)) @ g[f"w_disc{k}_fc1_kernel"] + g[f"w_disc{k}_fc1_bias"][None])
    return hidden @ g[f"w_disc{k}_fc2_kernel"] + g[f"w_disc{k}_fc2_bias"][None]


def test_golden(golden):
    g = golden("self_kd_lib/mixskd_total")
    share, rows, names = g["hp_lam"].item(), g["index"], ("logits0", "logits1", "feat0", "feat1")

    def loss(z0, z1, f0, f1):
        ensembles = g["ensemble_logits"], g["ensemble_mixup_logits"]
        found = losses.mixskd_terms([z0, z1], [f0, f1], *ensembles, g["labels"], rows, share, temperature=g["hp_temperature"])
        told = 0.0
        for k, f in enumerate((f0, f1)):
            inter = share * f[:4] + (1 - share) * f[:4][rows]
            told += jnp.mean(losses.told_apart(discriminator(g, k, inter), discriminator(g, k, f[4:])))
        means = {name: jnp.mean(term) for name, term in found.items()} | {"told": told}
        return sum(value for name, value in means.items() if name != "mixed_labels"), means

    (value, means), gradients = value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(*(g[name] for name in names))
    same_value(value, g["loss"])
    theirs = {"labels": "cls", "mixed_labels": "mixcls", "divergence": "div", "maps": "fea", "told": "gan"}
    for ours, name in theirs.items():
        same_value(means[ours], g[f"loss_{name}"])
    for name, gradient in zip(names, gradients, strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


def test_discriminator_golden(golden):
    g = golden("self_kd_lib/mixskd_discriminator")
    names = ("f_a0", "f_b0", "f_a1", "f_b1")

    def loss(a0, b0, a1, b1):
        pairs = enumerate(((a0, b0), (a1, b1)))
        return sum(jnp.mean(losses.told_apart(*(discriminator(g, k, f) for f in pair))) for k, pair in pairs)

    value, gradients = value_and_grad(loss, argnums=(0, 1, 2, 3))(*(g[name] for name in names))
    same_value(value, g["loss"])
    for name, gradient in zip(names, gradients, strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


def test_oracle():
    found, expected = losses.mixskd_terms(*ARGS), terms(*ARGS)
    assert found.keys() == expected.keys()
    for name, term in found.items():
        same_value(term, expected[name], 2e-5)

    def total(logits, maps, ensemble):
        return sum(jnp.sum(x) for x in losses.mixskd_terms(logits, maps, ensemble, *ARGS[3:]).values())

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*ARGS[:3])

    def moved(n, k, x):
        changed = [list(a) for a in ARGS[:2]]
        changed[n][k] = x
        return sum(v.sum() for v in terms(*changed, *ARGS[2:], fixed=LOGITS).values())

    for n in range(2):
        for k in range(3):
            same_gradient(gradients[n][k], differences(lambda x, n=n, k=k: moved(n, k, x), ARGS[n][k]))
    by_labels = differences(lambda x: terms(*ARGS[:2], x, *ARGS[3:])["mixed_labels"].sum(), ENSEMBLE)
    same_gradient(gradients[2], by_labels)


def test_an_image_mixed_with_nothing_is_itself():
    """At share 1 both halves are of the same images."""
    logits, maps = ([np.concatenate([x[:3]] * 2) for x in xs] for xs in (LOGITS, MAPS))
    found = losses.mixskd_terms(logits, maps, logits[-1][:3], logits[-1][:3], LABELS, ROWS, 1.0)
    np.testing.assert_allclose(found["divergence"], 0, atol=1e-5)
    assert not found["maps"].any()


def test_told_apart_oracle():
    same_value(losses.told_apart(*SCORES), apart(*SCORES))
    both = value_and_grad(lambda a, b: jnp.sum(losses.told_apart(a, b)), argnums=(0, 1))
    _, gradients = both(*SCORES)
    same_gradient(gradients[0], differences(lambda a: apart(a, SCORES[1]).sum(), SCORES[0]))
    same_gradient(gradients[1], differences(lambda b: apart(SCORES[0], b).sum(), SCORES[1]))


def test_extremes():
    value, gradients = value_and_grad(lambda z: sum(jnp.sum(x) for x in losses.mixskd_terms(z, *ARGS[1:]).values()))(
        [np.float32(1e4) * z for z in LOGITS]
    )
    assert jnp.isfinite(value) and all(jnp.isfinite(g).all() for g in gradients)
    far = np.float32([[1e4, -1e4]])
    value, gradient = value_and_grad(lambda a: losses.told_apart(a, far)[0])(-far)
    same_value(value, np.float64(1e4))
    assert jnp.isfinite(gradient).all()


def test_share_under_vmap():
    swept = jax.vmap(lambda s: losses.mixskd_terms(*ARGS[:-1], s)["divergence"])(jnp.array([0.3, 0.8]))
    same_value(swept, np.stack([terms(*ARGS[:-1], s)["divergence"] for s in (0.3, 0.8)]), 5e-5)


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.told_apart, *SCORES)
    bfloat16_reduces_in_float32(lambda z, f: sum(losses.mixskd_terms([z, z], [f, f], *ARGS[2:]).values()), LOGITS[0], MAPS[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.mixskd_terms([], [], *ARGS[2:]), ["0 exits"]),
        (lambda: losses.mixskd_terms(LOGITS, MAPS[:2], *ARGS[2:]), ["logits has 3", "maps has 2"]),
        (lambda: losses.mixskd_terms([LOGITS[0][:4]], MAPS[:1], *ARGS[2:]), ["logits[0] has shape (4, 4)", "twice labels"]),
        (lambda: losses.mixskd_terms([LOGITS[0][:, :2]], MAPS[:1], *ARGS[2:]), ["logits[0]", "(6, 2)", "ensemble"]),
        (lambda: losses.mixskd_terms(LOGITS[:1], [MAPS[0][:3]], *ARGS[2:]), ["maps[0]", "(3, 3, 3, 2)"]),
        (lambda: losses.mixskd_terms(*ARGS[:4], LABELS, ROWS * 1.0, SHARE), ["rows", "integer"]),
        (lambda: losses.mixskd_terms(*ARGS[:4], LABELS[:2], ROWS, SHARE), ["labels has shape (2,)"]),
        (lambda: losses.mixskd_terms(*ARGS[:-1], 1.5), ["share=1.5", "[0, 1]"]),
        (lambda: losses.mixskd_terms(*ARGS, temperature=0), ["temperature=0"]),
        (lambda: losses.told_apart(SCORES[0], SCORES[1][:2]), ["second", "(2, 2)"]),
        (lambda: losses.told_apart(LOGITS[0], LOGITS[1]), ["first has shape (6, 4)", "[B, 2]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
