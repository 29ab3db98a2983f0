"""Contrast of unit rows, with labels and with a bank, against the authors' code and NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import small_net
from oracle import (
    bfloat16_reduces_in_float32,
    differences,
    halves_equal_whole,
    log_softmax,
    refused,
    same_gradient,
    same_value,
    value_and_grad,
)

from kdjax import core, losses
from kdjax.core import collectives

RNG = np.random.default_rng(5)


def unit_rows(*shape):
    x = RNG.normal(size=shape)
    return np.float32(x / np.linalg.norm(x, axis=-1, keepdims=True))


FEATURES, LABELS = unit_rows(6, 3, 5), np.array([0, 2, 0, 1, 0, 1])
LOCAL, WHOLE = unit_rows(9, 5), unit_rows(9, 5)


def supervised(x, labels=None, temperature=0.3, base=0.07, views=None):
    """Row by row, as the paper writes it."""
    x = np.float64(x)
    rows, count, _ = x.shape
    labels = np.arange(rows) if labels is None else labels
    out = np.zeros((views or count, rows))
    others = [(i, v) for i in range(rows) for v in range(count)]
    for v, i in np.ndindex(out.shape):
        score = {j: x[i, v] @ x[j] / temperature for j in others if j != (i, v)}
        positives = [j for j in score if labels[j[0]] == labels[i]]
        among = np.log(np.exp(list(score.values())).sum())
        out[v, i] = temperature / base * np.mean([among - score[j] for j in positives]) if positives else 0.0
    return out


def contrast(local, whole=WHOLE, current=4, kept=slice(None), temperature=0.3):
    now = np.arange(len(local)) < current if np.ndim(current) == 0 else current
    local, whole, now = (np.asarray(a)[kept] for a in (local, whole, now))
    each = -np.diag(log_softmax(np.float64(local) @ np.float64(whole).T / temperature))
    return sum(each[m].mean() for m in (now, ~now) if m.any())


@pytest.mark.parametrize("name", ["contrast_loss", "contrast_loss_labels"])
def test_supervised_contrast_golden(golden, name):
    g = golden(f"datafree/{name}")
    options = {"temperature": float(g["hp_temperature"]), "base_temperature": float(g["hp_base_temperature"])}

    def loss(x):
        each = losses.supervised_contrast(x, g.get("labels"), **options)
        return jnp.mean(each), each

    (value, each), gradient = value_and_grad(loss, has_aux=True)(g["features"])
    same_value(value, g["loss"])
    same_value(each, g["loss_per_anchor"])
    same_gradient(gradient, g["grad_features"])


def test_contrastive_model_inversion_golden(golden):
    g = golden("datafree/cmi_objective")
    bank = g["bank"].reshape(8, 2, 11)

    def head(x):
        x = jax.nn.relu(x @ g["w_head_fc1_kernel"] + g["w_head_fc1_bias"][None])
        return core.unit(x @ g["w_head_fc2_kernel"] + g["w_head_fc2_bias"][None])

    def described(images):
        logits, _, norms = small_net(g, "teacher", images)
        return logits, norms, jnp.concatenate([jnp.mean(x, axis=(1, 2)) for x, _, _ in norms], axis=1)

    def total(images):
        logits, norms, whole = described(images)
        student, *_ = small_net(g, "student", images)
        local = described(images[:, :, ::-1])[2]
        rows = (head(jnp.concatenate([a, b])) for a, b in zip((local, whole), (bank[:, 0], bank[:, 1]), strict=True))
        parts = {
            "bn": sum(losses.batch_norm_statistics(*layer) for layer in norms),
            "onehot": jnp.mean(losses.cross_entropy(logits, g["targets"])),
            "adv": jnp.mean(losses.decision_adversarial(student, logits)),
            "cr": losses.image_contrast(*rows, temperature=float(g["hp_cr_temperature"]), current=4),
        }
        factors = {"bn": "bn", "onehot": "oh", "adv": "adv", "cr": "cr"}
        return sum(g[f"hp_{factors[name]}"] * part for name, part in parts.items()), parts

    (value, parts), gradient = value_and_grad(total, has_aux=True)(g["images"])
    same_value(value, g["loss"])
    for name, part in parts.items():
        same_value(part, g[f"loss_{name}"], 5e-5)
    same_gradient(gradient, g["grad_images"])


@pytest.mark.parametrize("labels", [None, LABELS], ids=["images", "labels"])
@pytest.mark.parametrize("anchors", ["all", "first"])
def test_supervised_contrast_oracle(labels, anchors):
    def expected(x):
        return supervised(x, labels, views=1 if anchors == "first" else None)

    def loss(x):
        each = losses.supervised_contrast(x, labels, temperature=0.3, base_temperature=0.07, anchors=anchors)
        return jnp.sum(each), each

    (_, each), gradient = value_and_grad(loss, has_aux=True)(FEATURES)
    same_value(each, expected(FEATURES))
    same_gradient(gradient, differences(lambda x: expected(x).sum(), FEATURES))


def test_two_views_without_labels_are_those_of_nt_xent():
    pairs = FEATURES[:, :2]
    found = losses.supervised_contrast(pairs, temperature=0.3, base_temperature=0.3)
    same_value(found, np.float64(losses.nt_xent(pairs.swapaxes(0, 1), temperature=0.3)))


def test_a_view_without_a_positive_counts_nothing():
    lone = np.array([0, 1, 2, 3, 3, 4])
    value, gradient = value_and_grad(
        lambda x: jnp.sum(losses.supervised_contrast(x, lone, temperature=0.3, base_temperature=0.07)[:, :3])
    )(FEATURES[:, :1])
    assert value == 0 and not gradient.any()


CURRENT = {"first": 4, "which": np.array([0, 1, 1, 0, 0, 0, 1, 0, 0], bool), "all": 9, "none": 0}


@pytest.mark.parametrize("name", CURRENT)
def test_image_contrast_oracle(name):
    loss = functools.partial(losses.image_contrast, temperature=0.3, current=CURRENT[name])
    value, gradients = value_and_grad(loss, argnums=(0, 1))(LOCAL, WHOLE)
    expected = functools.partial(contrast, current=CURRENT[name])
    same_value(value, expected(LOCAL))
    same_gradient(gradients[0], differences(expected, LOCAL))
    assert not gradients[1].any()  # what is found is a constant


@pytest.mark.parametrize("filled", [0, 2, 5])
def test_a_bank_that_is_not_full_is_as_if_it_were_smaller(filled):
    kept = np.arange(9) < 4 + filled
    local, whole = (np.where(kept[:, None], x, np.float32(np.nan)) for x in (LOCAL, WHOLE))
    loss = functools.partial(losses.image_contrast, temperature=0.3, current=4)
    value, gradient = value_and_grad(functools.partial(loss, where=kept))(local, whole)
    small = LOCAL[: 4 + filled], WHOLE[: 4 + filled]
    expected, right = value_and_grad(loss)(*small)
    same_value(value, np.float64(expected))
    same_gradient(gradient[: 4 + filled], np.float64(right))
    assert not gradient[4 + filled :].any()
    same_value(value, contrast(LOCAL, kept=kept))


def test_a_ring_buffer_of_both_crops():
    bank = core.new_queue(jnp.zeros((5, 2, 5)))
    for start in (0, 3):
        where = jnp.concatenate([jnp.ones(3, bool), bank.filled])
        rows = jnp.stack([LOCAL, WHOLE], axis=1)[start : start + 3]
        both = jnp.concatenate([rows, bank.rows])
        value = losses.image_contrast(both[:, 0], both[:, 1], temperature=0.3, current=3, where=where)
        order = [*range(start, start + 3), *range(start)]
        same_value(value, contrast(LOCAL[order], WHOLE[order], current=3))
        bank = core.push(bank, rows)


def test_halves_of_the_batch_beside_one_bank_equal_the_whole():
    bank, kept = (LOCAL[4:], WHOLE[4:]), np.array([1, 1, 0, 1, 0], bool)

    def loss(rows, axis_name):
        both = (jnp.concatenate([rows[:, n], bank[n]]) for n in range(2))
        where = jnp.concatenate([jnp.ones(len(rows), bool), kept])
        return losses.image_contrast(*both, temperature=0.3, current=len(rows), where=where, axis_name=axis_name)

    halves_equal_whole(loss, np.stack([LOCAL[:4], WHOLE[:4]], axis=1))


def test_the_bank_has_one_gradient_on_two_devices():
    def split(bank, axis_name="data"):
        def half(rows, whole):
            both = jnp.concatenate([rows, bank]), jnp.concatenate([whole, WHOLE[4:]])
            return losses.image_contrast(*both, temperature=0.3, current=2, axis_name=axis_name)

        return jnp.mean(jax.vmap(half, axis_name="data")(LOCAL[:4].reshape(2, 2, 5), WHOLE[:4].reshape(2, 2, 5)))

    gradient = jax.jit(jax.grad(split))(LOCAL[4:])
    same_gradient(gradient, differences(lambda x: contrast(np.concatenate([LOCAL[:4], x])), LOCAL[4:]))


@pytest.mark.parametrize("anchors", ["all", "first"])
def test_halves_of_labelled_views_equal_the_whole(anchors):
    def loss(rows, axis_name):
        x, labels = rows[..., :-1], jnp.round(jax.lax.stop_gradient(rows[:, 0, -1])).astype(int)
        options = {"temperature": 0.3, "base_temperature": 0.07, "anchors": anchors}
        with_labels = losses.supervised_contrast(x, labels, axis_name=axis_name, **options)
        without = losses.supervised_contrast(x, axis_name=axis_name, **options)
        assert with_labels.shape == (3 if anchors == "all" else 1, len(rows))
        return collectives.mean(with_labels + 0.5 * without, axis_name=axis_name)

    marked = np.concatenate([FEATURES, np.broadcast_to(LABELS[:, None, None], (6, 3, 1))], axis=-1)
    halves_equal_whole(loss, np.float32(marked))


def test_equal_rows_and_small_temperatures():
    same = np.broadcast_to(FEATURES[:1, :1], FEATURES.shape)
    value, gradient = value_and_grad(lambda x: jnp.sum(losses.supervised_contrast(x, temperature=1e-3, base_temperature=1.0)))(same)
    same_value(value, 18 * 1e-3 * np.log(17.0), 1e-3)
    assert jnp.isfinite(gradient).all()
    value, gradient = value_and_grad(functools.partial(losses.image_contrast, temperature=1e-3, current=4))(LOCAL, WHOLE)
    same_value(value, contrast(LOCAL, temperature=1e-3))
    assert jnp.isfinite(gradient).all()


def test_temperatures_are_swept():
    t = jnp.array([0.2, 0.6])
    found = jax.vmap(lambda t: losses.supervised_contrast(FEATURES, LABELS, temperature=t, base_temperature=2 * t))(t)
    same_value(found, np.stack([supervised(FEATURES, LABELS, t, 2 * t) for t in (0.2, 0.6)]))
    found = jax.vmap(lambda t: losses.image_contrast(LOCAL, WHOLE, temperature=t, current=4))(t)
    same_value(found, np.array([contrast(LOCAL, temperature=t) for t in (0.2, 0.6)]))
    swept = jax.vmap(lambda n: losses.image_contrast(LOCAL, WHOLE, temperature=0.3, current=n))(jnp.array([0, 4]))
    same_value(swept, np.array([contrast(LOCAL, current=n) for n in (0, 4)]))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda x: losses.supervised_contrast(x, LABELS, temperature=0.3, base_temperature=0.07), FEATURES)
    bfloat16_reduces_in_float32(lambda x, y: losses.image_contrast(x, y, temperature=0.3, current=4), LOCAL, WHOLE)


def supervise(x, labels=None, **options):
    return losses.supervised_contrast(x, labels, **{"temperature": 0.1, "base_temperature": 0.1, **options})


def find(x=LOCAL, y=WHOLE, **options):
    return losses.image_contrast(x, y, **{"temperature": 0.1, "current": 4, **options})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: supervise(LOCAL), ["features", "(9, 5)", "[B, V, D]"]),
        (lambda: supervise(FEATURES, LABELS[:2]), ["labels", "(2,)", "features"]),
        (lambda: supervise(FEATURES, LABELS * 1.0), ["labels", "integer class numbers"]),
        (lambda: supervise(FEATURES, temperature=0), ["temperature=0", "above 0"]),
        (lambda: supervise(FEATURES, base_temperature=-1), ["base_temperature=-1", "above 0"]),
        (lambda: supervise(FEATURES, anchors="one"), ["anchors='one'", "'all' or 'first'"]),
        (lambda: find(y=WHOLE[:4]), ["whole", "(4, 5)", "local", "(9, 5)"]),
        (lambda: find(temperature=0.0), ["temperature=0.0"]),
        (lambda: find(current=10), ["current=10", "0 to 9", "bool[9]"]),
        (lambda: find(current=True), ["current=True", "0 to 9"]),
        (lambda: find(current=np.ones(3, bool)), ["current is bool[3]", "bool[9]"]),
        (lambda: find(current=np.ones(9)), ["current is float", "bool[9]"]),
        (lambda: find(current=np.ones(9, bool), axis_name="data"), ["current", "(9,)", "a number of rows", "axis_name"]),
        (lambda: find(where=np.ones((9, 1), bool)), ["where is bool[9, 1]", "bool[9]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
