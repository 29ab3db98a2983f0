from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, start, tst
from tiny_nets import LABELS, without_batch_norm

from kdjax import augment, methods
from kdjax.core import InputError, Learner, Net, example_keys, jit_fast_compile
from kdjax.methods.offline.tst import Pace, _after, augmenter_epochs

KEY = jax.random.key(5)
LATER = {"phases": (0.75,), "length": 0.25, "epochs": 4, "steps_per_epoch": 2}  # the augmenter learns in steps 6 and 7
WEIGHTS = {"temperature": 2.0, "label_weight": 2.0, "weight": 3.0}


@pytest.fixture(scope="module")
def later():
    """A case, its first State, and its step, compiled once."""
    case = tst(tx=optax.sgd(optax.constant_schedule(0.02)), easy_weight=2.0, hard_weight=3.0, **WEIGHTS, **LATER)
    return case, start(case), jax.jit(case.method.step)


def with_augmenter(state, logits=0.0, magnitudes=0.0):
    params = {"logits": jnp.full(14, logits, jnp.float32), "magnitudes": jnp.full(11, magnitudes, jnp.float32)}
    return state._replace(augmenter=state.augmenter.replace(params=params))


def at(state, step):
    return state._replace(step=jnp.int32(step))


def test_an_augmentation_that_does_nothing_leaves_distillation(later):
    """Every image twice: batch statistics and mean gradients are those of each once."""
    case, state, ours = later
    plain = methods.kd(case.nets["student"], case.nets["teacher"], optax.sgd(0.02), **WEIGHTS)
    a, b = with_augmenter(state, -1e6), jit_fast_compile(plain.init)(jax.random.key(0), case.batch, case.given)
    close((a.student.params, a.student.stats), (b.learner.params["student"], b.learner.stats["student"]))
    theirs = jax.jit(plain.step)
    for _ in range(2):
        (a, logged), (b, metrics) = ours(a, case.batch, KEY), theirs(b, case.batch, KEY)
    close((a.student.params, a.student.stats), (b.learner.params["student"], b.learner.stats["student"]), atol=1e-5)
    np.testing.assert_allclose(logged["loss"], metrics["loss"], rtol=1e-5)
    control, _ = ours(with_augmenter(a), case.batch, KEY)
    still, _ = ours(a, case.batch, KEY)
    assert not np.allclose(jax.tree.leaves(control.student.params)[0], jax.tree.leaves(still.student.params)[0], atol=1e-5)


def test_each_learns_in_its_phase_and_the_student_s_optimiser_sees_its_own_alone(later):
    case, state, step = later
    for k in range(9):
        new, metrics = step(state, case.batch, jax.random.key(k))
        inventing = k in (6, 7)
        assert metrics["augmenting"] == inventing
        assert equal(new.student, state.student) == inventing and equal(new.augmenter, state.augmenter) != inventing
        silent = ("cross_entropy", "distillation") if inventing else ("easy", "hard")
        assert all(metrics[name] == 0 for name in silent)
        state = new
    assert int(optax.tree_utils.tree_get(state.student.opt, "count")) == 7


def copies(state, case, key):
    """The augmented batch of a step, drawn as the step draws it."""
    picked = jax.random.choice(jax.random.fold_in(key, 2), 14, (4,), replace=False)
    keys = example_keys(jax.random.fold_in(key, 1), case.batch["index"])
    one = lambda k, x: augment.learned_policies(k, x, picked=picked, **state.augmenter.params)  # noqa: E731
    return jax.vmap(one)(keys, case.batch["image"])


def probabilities(state, case, images):
    """Of the labels, by the student and by the teacher, in evaluation mode."""
    outputs = case.method.predict(state, images)
    rows = np.arange(16), np.asarray(LABELS)
    return [np.asarray(jax.nn.softmax(outputs[name]["logits"]), np.float64)[rows] for name in ("student", "teacher")]


def test_the_augmenter_s_loss_is_that_of_the_code(later):
    case, first, step = later
    state = at(with_augmenter(first, 0.5, 1.0), 6)
    ours, theirs = probabilities(state, case, copies(state, case, KEY))
    new, metrics = step(state, case.batch, KEY)
    easy, hard = -np.log(theirs).mean(), -np.log(1 - ours + 1e-8).mean()
    np.testing.assert_allclose(metrics["easy"], easy, rtol=1e-4)
    np.testing.assert_allclose(metrics["hard"], hard, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], 2 * easy + 3 * hard, rtol=1e-4)
    picked = np.asarray(jax.random.choice(jax.random.fold_in(KEY, 2), 14, (4,), replace=False))
    moved = np.flatnonzero(new.augmenter.params["magnitudes"] != 1.0)
    assert len(moved) and set(moved) <= set(picked) and set(np.flatnonzero(new.augmenter.params["logits"] != 0.5)) <= set(picked)


def test_the_student_s_loss_is_the_mean_over_images_and_copies(later):
    case, state, step = later
    both = jnp.concatenate([copies(state, case, KEY), case.batch["image"]])
    s, _ = case.nets["student"].apply(state.student.params, state.student.stats, both, train=True)
    t = case.method.predict(state, both)["teacher"]["logits"]
    _, metrics = step(state, case.batch, KEY)
    log_s, log_t = (np.asarray(jax.nn.log_softmax(z / 2), np.float64) for z in (s["logits"], t))
    labels = np.tile(np.asarray(LABELS), 2)
    entropy = -np.asarray(jax.nn.log_softmax(s["logits"]))[np.arange(32), labels].mean()
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-4)
    np.testing.assert_allclose(metrics["distillation"], 4 * (np.exp(log_t) * (log_t - log_s)).sum(-1).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], 2 * metrics["cross_entropy"] + 3 * metrics["distillation"], rtol=1e-5)


def test_a_slice_of_the_batch_has_its_images_beside_their_copies():
    """Copies like their images: in every slice, rows are then equal two by two."""
    net = without_batch_norm()

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, {}, x, train=train)[0], {"apart": jnp.max(jnp.abs(x[::2] - x[1::2]))} if train else stats

    student = Net(lambda key, x: (net.init(key, x)[0], {"apart": jnp.ones(())}), apply)
    case = tst(student=student, teacher=net, micro=2, **LATER)
    new, _ = jax.jit(case.method.step)(with_augmenter(start(case), -1e6), case.batch, KEY)
    assert new.student.stats["apart"] == 0


def test_a_phase_makes_copies_easier_for_the_teacher_than_for_the_student():
    """A trained teacher beside an untrained student; the margin is measured on draws of its own."""
    case = tst(steps_per_epoch=60, epochs=4, phases=(0.0,), length=0.25, rate=0.5)
    trained = methods.supervised(case.nets["teacher"], optax.adam(0.03))
    teacher = jit_fast_compile(trained.init)(jax.random.key(2), case.batch, {})
    learn, step = jax.jit(trained.step), jax.jit(case.method.step)
    for k in range(60):
        teacher, _ = learn(teacher, case.batch, jax.random.key(k))
    params, stats = trained.weights(teacher)["network"]
    frozen = case.given["teacher"].replace(params=params, stats=stats)
    state = jit_fast_compile(case.method.init)(jax.random.key(0), case.batch, {"teacher": frozen})

    @jax.jit
    def margin(state):
        def one(key):
            images = copies(state, case, key)
            outputs = case.method.predict(state, images)
            ours, theirs = (jax.nn.softmax(outputs[name]["logits"])[jnp.arange(16), LABELS] for name in ("student", "teacher"))
            return jnp.mean(theirs - ours)

        return jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(77), 30)))

    before = margin(state)
    for k in range(60):
        state, metrics = step(state, case.batch, jax.random.key(k))
        assert metrics["augmenting"] == 1
    assert margin(state) > before + 0.02


def test_the_rate_falls_by_a_tenth_after_a_slow_pass():
    slow = lambda now, before: float(_after(Pace(*map(jnp.float32, (1.0, now, before))), jnp.float32(now), True, 2).rate)  # noqa: E731
    assert slow(2.0, jnp.inf) == 1.0  # the first pass
    assert slow(2.0, 2.5) == 1.0 and slow(2.0, 2.019) == pytest.approx(0.9)
    assert slow(0.1, 0.115) == 1.0  # by less than 0.02, but by more than 2 %
    assert slow(2.0, 1.99) == pytest.approx(0.9) and slow(2.0, 1.5) == 1.0  # a mild rise, and a large one
    pace = _after(Pace(*map(jnp.float32, (1.0, 3.0, 9.0))), jnp.float32(2.0), False, 2)
    assert (float(pace.rate), float(pace.total), float(pace.before)) == (1.0, 5.0, 9.0)


def test_a_phase_starts_from_a_fresh_optimiser():
    case = tst(phases=(0.25, 0.5), length=0.25, epochs=4, steps_per_epoch=2)
    state = start(case)
    stale = jax.tree.map(jnp.ones_like, state.augmenter)
    state = state._replace(augmenter=Learner(state.augmenter.params, {}, stale.opt), pace=Pace(*map(jnp.float32, (0.5, 7.0, 1.0))))
    step = jax.jit(case.method.step)
    fresh, _ = step(at(start(case), 2), case.batch, KEY)
    begun, metrics = step(at(state, 2), case.batch, KEY)
    assert metrics["augmenting"] == 1 and equal(begun.augmenter, fresh.augmenter) and equal(begun.pace, fresh.pace)
    assert step(at(state, 4), case.batch, KEY)[1]["augmenting"] == 0
    assert step(at(state, 6), case.batch, KEY)[1]["augmenting"] == 1  # epoch 2 of the student, after one of the augmenter
    resumed, logged = step(at(state, 3), case.batch, KEY)
    assert not equal(resumed.augmenter.opt, fresh.augmenter.opt)
    trace = optax.tree_utils.tree_get(resumed.augmenter.opt, "trace")
    moved = jax.tree.map(lambda p, t: p - 0.5 * t, state.augmenter.params, trace)  # by the rate of its pace
    close(resumed.augmenter.params, moved, atol=1e-6)
    assert begun.pace.total == metrics["loss"] and resumed.pace.total == 0  # the second of two steps ends a pass
    np.testing.assert_allclose(resumed.pace.before, (7.0 + logged["loss"]) / 2, rtol=1e-6)


def test_the_released_code_s_sigmoid_keeps_every_policy_alive(later):
    """At log-odds of -100 nothing happens; with the sigmoid in between a policy still does every other time."""
    case, state, plain = later
    never = with_augmenter(state, -100.0)
    released = jax.jit(tst(sigmoid_logits=True, **WEIGHTS, **LATER).method.step)
    without, alive = (step(never, case.batch, KEY)[1]["cross_entropy"] for step in (plain, released))
    assert without != alive
    assert (
        alive != released(with_augmenter(state, 0.5), case.batch, KEY)[1]["cross_entropy"]
    )  # sigmoid(-100) = 0 is not sigmoid(0.5)


def test_when_the_augmenter_learns():
    assert augmenter_epochs(240, (0.125, 0.375), 0.125) == ((30, 90), 30)
    assert augmenter_epochs(100, (0.1, 0.25), 0.05) == ((10, 25), 5)
    assert augmenter_epochs(3, (0.125, 0.9), 0.125) == ((0, 2), 1)
    assert augmenter_epochs(10, (), 0.1) == ((), 1)


def test_the_defaults_are_the_paper_s():
    shown = {k: p.default for k, p in signature(methods.tst).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert {k: v for k, v in shown.items() if k not in ("steps_per_epoch", "epochs")} == {
        "label_weight": 1.0, "weight": 1.0, "temperature": 4.0, "phases": (0.125, 0.375), "length": 0.125, "picks": 4,
        "easy_weight": 1.0, "hard_weight": 1.0, "rate": 0.01, "momentum": 0.9, "sigmoid_logits": False, "axis_name": None,
        "micro": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"phases": (0.5, 0.25)}, r"phases=\(0.5, 0.25\) is not accepted"),
        ({"phases": (1.0,)}, r"phases=\(1.0,\) is not accepted"),
        ({"length": 0.0}, "length=0.0 is not accepted"),
        ({"picks": 15}, "picks=15 is not accepted: expected 1 to 14"),
    ],
)
def test_refusals(options, said):
    with pytest.raises(InputError, match=said):
        tst(**options)


def test_a_length_cannot_be_swept():
    with pytest.raises(InputError, match="length cannot be swept"):
        jax.vmap(lambda length: tst(length=length) and length)(jnp.array([0.1, 0.2]))
