"""Momentum adversarial distillation: what the student sees, and the average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, student_of
from synthetic import KEY, one_step
from tiny_nets import CLASSES, frozen, without_batch_norm

from kdjax import losses, methods
from kdjax.core import InputError, Net, ema
from kdjax.models import generator

BATCH = {"index": jnp.arange(16)}


def run(net=None, decay=0.95, **options):
    net, teacher = net or without_batch_norm(), without_batch_norm()
    maker = generator(8, channels=1, features=2)
    method = methods.mad(net, teacher, maker, optax.sgd(0.1), optax.adam(0.1), decay=decay, latent=3, student_steps=1, **options)
    return *one_step(method, {"teacher": frozen(teacher)}, BATCH), method, maker


def test_the_average_follows_the_generator():
    state, new, *_ = run(decay=0.75)
    close(new.average.params, ema(state.average.params, new.generator.params, 0.75), rtol=1e-6, atol=1e-7)
    close(state.average.params, state.generator.params)


def test_with_decay_0_the_average_is_the_generator():
    """The limit in which it is its own baseline with a double batch."""
    _, new, *_ = run(decay=0.0)
    close((new.average.params, new.average.stats), (new.generator.params, new.generator.stats), rtol=1e-6, atol=1e-7)


def test_each_half_of_a_batch_has_a_pass_and_a_weight_of_its_own():
    """The student's statistics are the means over its passes; a pass sees images of one generator alone."""
    net, teacher = without_batch_norm(), without_batch_norm()

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, {}, x, train=train)[0], {"seen": jnp.mean(x), "square": jnp.mean(x) ** 2} if train else stats

    watching = Net(lambda key, x: (net.init(key, x)[0], {"seen": jnp.float32(0), "square": jnp.float32(0)}), apply)
    state, new, metrics, _, maker = run(watching, decay=0.5, new_weight=2.0, replay_weight=3.0)
    keys = jax.random.split(KEY, 3)
    draw = lambda key: jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (3,)))(BATCH["index"])  # noqa: E731
    z, again = draw(keys[1]), draw(jax.random.fold_in(keys[1], 2))
    shown = [
        maker.apply(one.params, one.stats, latents, train=True)[0]["image"]
        for one, latents in ((new.generator, z), (new.average, again))
    ]
    stats = student_of(new.student)[1]
    means = [float(x.mean()) for x in shown]
    np.testing.assert_allclose(stats["seen"], np.mean(means), rtol=1e-5)
    np.testing.assert_allclose(stats["square"], np.mean(np.square(means)), rtol=1e-5)

    def loss(params):
        weights = frozen(teacher).params
        parts = [
            weight
            * losses.kl_distillation(*(net.apply(p, {}, x, train=True)[0]["logits"] for p in (params, weights)), temperature=1)
            for weight, x in zip((2.0, 3.0), shown, strict=True)
        ]
        return sum(part.mean() for part in parts)

    value, gradient = jax.value_and_grad(loss)(student_of(state.student)[0])
    np.testing.assert_allclose(metrics["student_loss"], value, rtol=1e-5)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, student_of(state.student)[0], gradient)
    close(student_of(new.student)[0], moved, rtol=1e-5, atol=1e-6)


def test_the_average_moves_less_than_the_generator():
    """The divergence of the student's predictions on images of the same latents, before and after."""
    state, new, metrics, method, maker = run(decay=0.9)
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(jax.random.split(KEY, 3)[0], i), (3,)))(BATCH["index"])

    def predictions(one):
        image = maker.apply(one.params, one.stats, z, train=True)[0]["image"]
        return np.asarray(jax.nn.softmax(method.predict(state, image)["student"]["logits"]))

    for name, old, moved in (("generator", state.generator, new.generator), ("average", state.average, new.average)):
        p, q = predictions(old), predictions(moved)
        m = (p + q) / 2
        expected = np.mean(np.sum(p * np.log(p / m) + q * np.log(q / m), -1) / 2)
        np.testing.assert_allclose(metrics[f"{name}_shift"], expected, rtol=1e-3, atol=1e-9)
    assert 0 < metrics["average_shift"] < metrics["generator_shift"]


def test_the_disagreement_is_bounded():
    _, _, metrics, *_ = run(bound=1e-3)
    assert -1e-3 - 1e-9 <= float(metrics["generator_adversarial"]) < 0


def test_classes_are_asked_for_equally_often():
    case = CASES["mad"]()
    seen = {}
    state = case.method.init(KEY, case.batch, case.given)

    def remember(labels):
        seen["labels"] = np.asarray(labels)

    cross_entropy = losses.cross_entropy

    def watched(logits, labels):
        jax.debug.callback(remember, labels)
        return cross_entropy(logits, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "cross_entropy", watched)
        jax.jit(case.method.step)(state, case.batch, KEY)
        jax.effects_barrier()
    assert np.bincount(seen["labels"], minlength=CLASSES).tolist() == [4] * CLASSES


def test_a_conditional_generator_learns_its_classes_before_it_plays_against_the_student():
    case = CASES["mad"](warm_up=1)
    state, step = case.method.init(KEY, case.batch, case.given), jax.jit(case.method.step)
    warm, metrics = step(state, case.batch, KEY)
    close(student_of(warm.student), student_of(state.student), rtol=0, atol=0)
    parts = metrics["generator_label"] + metrics["generator_embedding"]
    np.testing.assert_allclose(metrics["generator_loss"], parts, rtol=1e-6)
    assert metrics["student_loss"] == 0 and metrics["generator_adversarial"] != 0
    new, metrics = step(warm, case.batch, KEY)
    parts = metrics["generator_label"] + metrics["generator_embedding"] + metrics["generator_adversarial"]
    np.testing.assert_allclose(metrics["generator_loss"], parts, rtol=1e-5)
    assert metrics["student_loss"] > 0
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), student_of(new.student)[0], student_of(warm.student)[0])
    assert any(jax.tree.leaves(moved))


def test_embeddings_of_classes_are_kept_short():
    """Alone, the term moves a row that is longer than 1 by `-rate factor 2 e share`, and no other row."""
    net, teacher = without_batch_norm(), without_batch_norm()
    maker = generator(8, channels=1, features=2, classes=CLASSES, label="sum")
    options = {"adversarial": 0.0, "label": 0.0, "embedding": 3.0, "conditional": True, "classes": CLASSES, "latent": 3}
    method = methods.mad(net, teacher, maker, optax.sgd(0.1), optax.sgd(0.1), student_steps=1, **options)
    state = method.init(KEY, BATCH, {"teacher": frozen(teacher)})
    table = np.array([[2.0, 0, 0], [0, 0.9, 0], [0.6, -0.6, 0.6], [0, 0, -1.5]], np.float32)
    before = {**state.generator.params, "latents": jax.tree.map(lambda _: jnp.asarray(table), state.generator.params["latents"])}
    state = state._replace(generator=state.generator.replace(params=before))
    new, metrics = jax.jit(method.step)(state, BATCH, KEY)
    over = np.maximum((table**2).sum(1) - 1, 0)
    np.testing.assert_allclose(metrics["generator_embedding"], over.mean(), rtol=1e-5)
    (moved,) = jax.tree.leaves(new.generator.params["latents"])
    np.testing.assert_allclose(moved, table - 0.1 * 3 * 2 * table / CLASSES * (over > 0)[:, None], rtol=1e-5)
    close(new.generator.params["linear"], state.generator.params["linear"])


def test_a_generator_that_embeds_no_classes_is_refused_but_for_a_factor_of_0():
    maker = generator(8, channels=1, features=2, classes=CLASSES, label="concat")

    def step(**options):
        net = without_batch_norm()
        method = methods.mad(
            net, net, maker, optax.sgd(0.1), optax.sgd(0.1), latent=3, conditional=True, classes=CLASSES, student_steps=1, **options
        )
        state = jax.eval_shape(method.init, KEY, BATCH, {"teacher": frozen(net)})
        return jax.eval_shape(method.step, state, BATCH, KEY)[1]

    with pytest.raises(InputError, match=r"embedding=1.0 is not accepted: this generator embeds no classes; 0 leaves the term out"):
        step()
    assert "generator_embedding" not in step(embedding=0.0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"decay": 1.0}, r"decay=1.0 is not accepted: expected a number from 0 to below 1"),
        (
            {"new_weight": 0.0, "replay_weight": 0.0},
            r"new_weight=0 and replay_weight=0 are not accepted together: the student learns",
        ),
        ({"warm_up": 5}, r"warm_up=5 is not accepted: expected 0 where the generator knows no classes"),
        ({"conditional": True}, r"classes=None is not accepted: a conditional generator needs the number of classes"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        run(**options)
