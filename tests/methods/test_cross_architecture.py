import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, defaults, look, start, student_of, supervised
from tiny_nets import images, staged

from kdjax import augment, methods
from kdjax.core import InputError, example_keys
from kdjax.methods.offline.cross_architecture import moved
from kdjax.methods.offline.cross_attention import cakd_objective

KEY = jax.random.key(5)
NOTHING = {"attention": 0.0, "value": 0.0, "feature": 0.0, "adversarial": 0.0}


def test_without_its_terms_it_is_supervised_training():
    """Also the running statistics: those of moved images do not enter."""
    case, plain = CASES["cakd"](**NOTHING), supervised(net=staged(), tx=optax.sgd(0.05))
    (a, _), (b, _) = (jax.jit(x.method.step)(start(x), x.batch, KEY) for x in (case, plain))
    close(student_of(a), student_of(b), atol=1e-6)


@pytest.mark.parametrize("saturating", [True, False])
def test_what_the_critic_says_of_teacher_and_student(saturating):
    """By hand: of the patches of images, and of what the student makes of their views, each the mean over places."""
    case = CASES["cakd"](saturating=saturating, dropout=0.0, tx=optax.sgd(0.0))
    state, teacher, again = start(case), case.given["teacher"], jax.random.fold_in(KEY, 2)
    state = state._replace(critic=state.critic.replace(params=jax.tree.map(lambda p: 3 * p, state.critic.params)))
    image, index = case.batch["image"], case.batch["index"]
    view = jax.vmap(augment.random_apply(moved, p=0.5))(example_keys(again, index), image)
    s, _ = case.nets["student"].apply(*student_of(state), view, train=True)
    t, _ = case.nets["teacher"].apply(teacher.params, teacher.stats, image, train=False)
    projectors = cakd_objective(dropout=0.0).adapter
    made, _ = projectors.apply(state.learner.params["adapter"], {}, look(s, t).replace(batch=case.batch), train=True)

    def says(features):
        x, layers = np.float64(features).mean(1), jax.tree.map(np.float64, state.critic.params)
        for name in ("Dense_0", "Dense_1"):
            x = x @ layers[name]["kernel"] + layers[name]["bias"]
            x = np.where(x > 0, x, 0.2 * x)
        return 1 / (1 + np.exp(-(x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"])[:, 0]))

    real, false = says(t["patches"]), says(made["feature"])
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["critic"], (-np.log(real) - np.log(1 - false)).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["adversarial"], (np.log(1 - false) if saturating else -np.log(false)).mean(), rtol=1e-4)


def test_the_critic_learns_and_the_student_fools_it():
    def run(**options):
        case = CASES["cakd"](**NOTHING | {"label_weight": 1e-6, "tx": optax.sgd(0.3)} | options)
        state, step = start(case), jax.jit(case.method.step)
        for k in range(25):
            state, metrics = step(state, case.batch, jax.random.key(k))
        return float(metrics["critic"])

    alone = run()
    assert alone < 0.5 * 2 * np.log(2)
    assert run(adversarial=3.0, saturating=False) > 1.5 * alone


def test_moved_images_are_others_of_the_same_kind():
    image = images()[0]
    found = [moved(jax.random.key(k), image) for k in (0, 0, 1)]
    assert found[0].shape == image.shape and 0 <= float(found[0].min()) <= float(found[0].max()) <= 1
    assert jnp.array_equal(found[0], found[1]) and not jnp.allclose(found[0], found[2]) and not jnp.allclose(found[0], image)


def test_the_defaults_and_refusals():
    assert defaults(methods.cakd) == {
        "label_weight": 1.0, "attention": 1.0, "value": 1.0, "feature": 1.0, "adversarial": 0.1, "saturating": True, "views": 0.5,
        "replaced": 0.5, "value_term": "relation", "dropout": 0.1, "layer": "", "block": 0,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"^views=2"):
        CASES["cakd"](views=2.0)
