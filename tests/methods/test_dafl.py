import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, equal, start, student_of
from data_free_cases import dafl
from synthetic import KEY, easel, golden, one_step, reference_net
from tiny_nets import CLASSES, frozen, images, small, without_batch_norm

from kdjax import losses, methods
from kdjax.core import Frozen, InputError, Net, batch_norms, chain
from kdjax.methods.data_free._generator import data_free
from kdjax.methods.recipes import Objective
from kdjax.methods.recipes import student as one_student
from kdjax.models import conv_net, generator, linear_head

TERMS = ("one_hot", "balance", "activation", "batch_norm", "adversarial")
NONE = dict.fromkeys(TERMS, 0.0)
INDEX = {"index": jnp.arange(16)}


# Against the authors' code


def test_the_generator_s_objective_is_the_authors():
    g = golden("datafree/dafl_objective")
    (student, _), (teacher, weights) = (reference_net(g, who) for who in ("student", "teacher"))
    batch = {"index": jnp.arange(len(g["images"]))}

    def run(**options):
        method = methods.dafl(
            student, teacher, easel(g["images"]), optax.sgd(0.1), optax.sgd(1.0), one_hot=float(g["hp_oh"]),
            balance=float(g["hp_balance"]), activation=float(g["hp_act"]), latent=2, student_steps=1, **options,
        )  # fmt: skip
        return one_step(method, {"teacher": weights}, batch)

    state, new, metrics = run()
    np.testing.assert_allclose(metrics["generator_loss"], g["loss"], rtol=1e-5)
    for name, part in (("one_hot", "onehot"), ("balance", "balance"), ("activation", "act")):
        np.testing.assert_allclose(metrics[f"generator_{name}"], g[f"loss_{part}"], rtol=1e-5)
    gradient = state.generator.params - new.generator.params
    np.testing.assert_allclose(gradient, g["grad_images"], atol=1e-4 * np.abs(g["grad_images"]).max())
    assert set(metrics) == {f"generator_{k}" for k in ("loss", *TERMS[:3])} | {"student_loss", "student_distillation"}

    _, _, metrics = run(batch_norm=1.0, adversarial=1.0)
    np.testing.assert_allclose(metrics["generator_batch_norm"], g["loss_bn"], rtol=1e-5)
    np.testing.assert_allclose(metrics["generator_adversarial"], g["loss_adv"], rtol=1e-4)
    np.testing.assert_allclose(metrics["generator_loss"], g["loss"] + g["loss_bn"] + g["loss_adv"], rtol=1e-5)


# The generator's terms, one at a time


@pytest.fixture(scope="module")
def alone():
    """`alone(weights)`: the gradient of the images under these weights, which may be traced."""
    student, teacher, given = small(), small(width=6), {"teacher": frozen(small(width=6))}

    def gradient(weights):
        method = methods.dafl(
            student, teacher, easel(images()), optax.sgd(0.1), optax.sgd(1.0), latent=2, student_steps=1, **weights
        )
        state = method.init(KEY, INDEX, given)
        new, _ = method.step(state, INDEX, KEY)
        return state.generator.params - new.generator.params, state

    return jax.jit(gradient), student, teacher, given["teacher"]


@pytest.mark.parametrize("name", TERMS)
def test_a_single_weight_leaves_a_single_term(alone, name):
    gradient, student, teacher, frozen_teacher = alone
    weights = {k: jnp.float32(2.0 * (k == name)) for k in TERMS}
    got, state = gradient(weights)

    def term(pictures):
        taps_t, _ = teacher.apply(frozen_teacher.params, frozen_teacher.stats, pictures, train=False)
        taps_s, _ = student.apply(*student_of(state.student), pictures, train=False)
        log_t, log_s = jax.nn.log_softmax(taps_t["logits"]), jax.nn.log_softmax(taps_s["logits"])
        share = jnp.mean(jnp.exp(log_t), 0)
        return {
            "one_hot": lambda: -jnp.mean(jnp.max(log_t, -1)),
            "balance": lambda: jnp.sum(share * jnp.log(share)),
            "activation": lambda: -jnp.mean(jnp.abs(taps_t["pooled"])),
            "batch_norm": lambda: sum(
                jnp.linalg.norm(x.mean((0, 1, 2)) - m) + jnp.linalg.norm(x.var((0, 1, 2)) - v)
                for x, m, v in batch_norms(taps_t, frozen_teacher.stats)
            ),
            "adversarial": lambda: -jnp.mean(jnp.sum(jnp.exp(log_t) * (log_t - log_s), -1)),
        }[name]()

    expected = 2 * np.asarray(jax.jit(jax.grad(term))(images()))
    assert np.abs(expected).max() > 1e-6
    np.testing.assert_allclose(got, expected, atol=2e-7 + 1e-4 * np.abs(expected).max())


def test_a_weight_of_zero_leaves_its_term_out():
    for name in ("one_hot", "batch_norm"):
        case = dafl(**NONE | {name: 1.0})
        _, metrics = jax.eval_shape(case.method.step, start(case), case.batch, KEY)
        assert {k for k in metrics if k.startswith("generator_")} == {"generator_loss", f"generator_{name}"}


def test_the_base_of_the_logarithm():
    net = without_batch_norm()

    def balance(**options):
        method = methods.dafl(net, net, easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2, student_steps=1, **options)
        return one_step(method, {"teacher": frozen(net)}, INDEX)[2]["generator_balance"]

    np.testing.assert_allclose(balance(log_base=10.0), balance() / math.log(10), rtol=1e-5)


# What the student sees


def watching(net):
    """The same net, whose statistics are the mean image of the last training pass and the number of those passes."""

    def apply(params, stats, x, *, train, key=None):
        taps, _ = net.apply(params, {}, x, train=train)
        return taps, {"seen": jnp.mean(x, 0), "passes": stats["passes"] + 1} if train else stats

    return Net(lambda key, x: (net.init(key, x)[0], {"seen": jnp.zeros(x.shape[1:]), "passes": jnp.int32(0)}), apply)


def looking():
    """A teacher whose features are the pixels."""
    net = without_batch_norm()

    def apply(params, stats, x, *, train, key=None):
        taps, _ = net.apply(params, {}, x, train=train)
        return taps | {"pooled": x.reshape(x.shape[0], -1)}, stats

    return Net(net.init, apply)


@functools.cache
def watched(steps, fresh=True):
    """One step of this student and this teacher around a generator."""
    student, teacher = watching(without_batch_norm()), looking()
    maker = generator(8, channels=1, features=2)
    method = methods.dafl(student, teacher, maker, optax.adam(0.01), optax.adam(0.1), latent=3, student_steps=steps, fresh=fresh)
    return one_step(method, {"teacher": Frozen(teacher.init(jax.random.key(1), images())[0], {})}, INDEX)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_holds_one_generator_update_and_k_student_updates(steps):
    state, new, _ = watched(steps)
    assert (new.student.learner.opt[0].count, new.generator.opt[0].count) == (steps, 1)
    assert student_of(new.student)[1]["passes"] == steps  # evaluation mode while images are made up
    assert new.step == state.step + 1


@pytest.mark.parametrize("fresh", [False, True])
def test_the_student_trains_on_the_judged_images_or_on_new_ones(fresh):
    _, new, metrics = watched(3, fresh)
    judged = -float(metrics["generator_activation"])  # pixels are the features, so this is their mean
    seen = float(jnp.mean(student_of(new.student)[1]["seen"]))
    assert (abs(seen - judged) < 1e-6) == (not fresh)


def test_each_student_step_draws_new_images():
    seen = [student_of(watched(k)[1].student)[1]["seen"] for k in (1, 3)]  # the last of each
    assert not equal(*seen)


def test_the_student_imitates_the_teacher_on_what_the_generator_has_just_learned():
    """With an easel for a generator the images after its update are known, and so is the student's step."""
    net = without_batch_norm()
    teacher = frozen(net)
    for fresh in (True, False):
        method = methods.dafl(
            net, net, easel(images()), optax.sgd(0.1), optax.sgd(5.0), temperature=3.0, latent=2, student_steps=1, fresh=fresh
        )
        state, new, metrics = one_step(method, {"teacher": teacher}, INDEX)
        pictures = new.generator.params if fresh else state.generator.params

        def imitation(params, pictures=pictures):
            z, t = (net.apply(p, {}, pictures, train=True)[0]["logits"] for p in (params, teacher.params))
            return jnp.mean(losses.kl_distillation(z, t, temperature=3.0))

        value, gradient = jax.jit(jax.value_and_grad(imitation))(student_of(state.student)[0])
        np.testing.assert_allclose(metrics["student_distillation"], value, rtol=1e-5)
        close(student_of(new.student)[0], jax.tree.map(lambda p, g: p - 0.1 * g, student_of(state.student)[0], gradient), atol=1e-6)
    assert not equal(state.generator.params, new.generator.params)


def test_a_student_with_dropout_draws_a_mask_of_its_own_in_each_step():
    """A student whose logits do not depend on the images: only the masks tell its steps apart."""
    seen = []
    net = without_batch_norm()

    def apply(params, stats, x, *, train, key=None):
        if train:
            jax.debug.callback(lambda k: seen.append(tuple(k.tolist())), jax.random.key_data(key), ordered=True)
        return net.apply(params, stats, x, train=train)

    method = methods.dafl(Net(net.init, apply), net, easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2, student_steps=3)
    one_step(method, {"teacher": frozen(net)}, INDEX)
    jax.effects_barrier()
    assert len(seen) == 3 and len(set(seen)) == 3


@pytest.mark.parametrize("name", ["dafl", "deep_inversion"])
def test_real_images_are_refused(name):
    case = CASES[name]()
    real = case.batch | {"image": jnp.zeros((16, 8, 8, 1))}
    line = r"a batch with 'image' is not accepted: a data-free method makes its images; expected 'index' alone"
    with pytest.raises(InputError, match=line):
        case.method.init(KEY, real, case.given)
    state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
    with pytest.raises(InputError, match=line):
        jax.eval_shape(case.method.step, state, real, KEY)


# Teachers


def chained(classes=CLASSES):
    return chain(first=conv_net((4,), None), then=linear_head(classes))


def test_the_batch_norms_of_a_chained_teacher_are_found():
    teacher = chained()
    method = methods.dafl(
        small(), teacher, easel(images()), optax.sgd(0.1), optax.sgd(0.1), **NONE | {"batch_norm": 1.0}, latent=2, student_steps=1
    )
    given = frozen(teacher)
    _, _, metrics = one_step(method, {"teacher": given}, INDEX)
    taps, _ = conv_net((4,), None).apply(given.params["first"], given.stats["first"], images(), train=False)
    running = given.stats["first"]["batch_stats"]["stage1_bn"]
    value = losses.batch_norm_statistics(taps["norm/stage1_bn"], running["mean"], running["var"])
    np.testing.assert_allclose(metrics["generator_batch_norm"], value, rtol=1e-5)


def test_a_teacher_without_batch_norm():
    net = without_batch_norm()

    def run(**options):
        method = methods.dafl(net, net, easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2, student_steps=1, **options)
        return one_step(method, {"teacher": frozen(net)}, INDEX)

    assert np.isfinite(run()[2]["generator_loss"])
    with pytest.raises(InputError, match=r"^batch_norm=1.0 is not accepted: this teacher has no batch-norm layers"):
        run(batch_norm=1.0)


@pytest.mark.parametrize("options", [{"student_steps": 0}, {"latent": 0}, {"latent": "many"}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        dafl(**options)


# The recipe


def test_objectives_see_the_step_and_a_memory_and_weights_follow_the_step():
    """A bank of one image: the student learns from what the generator made a step before."""
    pictures = jnp.full((4, 2, 2, 1), 0.5)
    net = Net(lambda key, x: (jnp.float32(1.0), {}), lambda p, s, x, *, train, key=None: ({"logits": p * x[:, 0, 0]}, s))

    def terms(seen):
        return {"bright": -jnp.mean(seen.images, (1, 2, 3)), "late": jnp.mean(seen.images) + 0.0 * seen.step}, seen.images[:1]

    def imitation(seen, adapted):
        return {"imitation": jnp.sum((seen.student["logits"] - 2 * seen.teacher["logits"]) ** 2, -1)}

    student = one_student(net, optax.sgd(0.0), Objective(imitation, {}), teacher=net)
    method = data_free(
        student, easel(pictures), optax.sgd(1.0), terms,
        weights={"late": lambda step: 1.0 * (step == 1)}, latent=1, student_steps=1,
        memory=lambda key, seen: jnp.zeros((1, *seen.images.shape[1:])),
        replay=lambda memory, key, images: jnp.broadcast_to(memory, images.shape),
    )  # fmt: skip
    given = {"teacher": Frozen(jnp.float32(3.0), {}, "t")}
    state = method.init(KEY, {"index": jnp.arange(4)}, given)
    assert not state.memory.any()
    step = jax.jit(method.step)
    for number in range(3):
        before = state.generator.params
        state, metrics = step(state, {"index": jnp.arange(4)}, KEY)
        np.testing.assert_array_equal(state.memory, before[:1])  # what the objective saw, before the generator moved
        np.testing.assert_allclose(metrics["student_imitation"], 25 * before[0, 0, 0, 0] ** 2, rtol=1e-6)
        assert (state.generator.params[0, 0, 0, 0] == before[0, 0, 0, 0]) == (number == 1)  # where both terms cancel


def test_several_generators_make_the_images_together():
    bright, dark = jnp.full((4, 2, 2, 1), 0.8), jnp.full((4, 2, 2, 1), 0.2)
    net = Net(lambda key, x: (jnp.float32(1.0), {}), lambda p, s, x, *, train, key=None: ({"logits": p * x[:, 0, 0]}, s))

    def terms(seen):
        assert seen.images.shape == (8, 2, 2, 1) and seen.teacher["logits"].shape == (8, 1)
        return {"range": jnp.mean(seen.images[4:]) - jnp.mean(seen.images[:4])}, ()

    def brightness(seen, adapted):
        return {"imitation": jnp.mean(seen.batch["image"], (1, 2, 3))}

    student = one_student(net, optax.sgd(0.0), Objective(brightness, {}), teacher=net)
    method = data_free(
        student, {"bright": easel(bright), "dark": easel(dark)}, optax.sgd(0.1), terms, weights={}, latent=1, student_steps=1,
    )  # fmt: skip
    _, new, metrics = one_step(method, {"teacher": Frozen(jnp.float32(3.0), {}, "t")}, {"index": jnp.arange(4)})
    weights = method.weights(new)
    assert list(weights) == ["student", "teacher", "bright", "dark"]
    slope = 0.1 / bright.size
    np.testing.assert_allclose(weights["bright"][0], bright + slope, rtol=1e-6)
    np.testing.assert_allclose(weights["dark"][0], dark - slope, rtol=1e-6)
    np.testing.assert_allclose(metrics["student_imitation"], 0.5, rtol=1e-6)
