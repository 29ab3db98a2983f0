"""Images of a State: drawn from its generator, or from its pool."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Frozen, Net, new_queue, push
from kdjax.experiment.synthetic_images import by_class, class_rows, drawn, judged, newest, remembered
from kdjax.models import conv_net

KEY = jax.random.key(0)


def test_a_generator_is_asked_for_each_class_in_turn():
    def apply(params, stats, x, *, train, key=None):
        return {"image": jnp.broadcast_to(x["label"].reshape(-1, 1, 1, 1), (5, 2, 2, 1))}, stats

    state = SimpleNamespace(generator=SimpleNamespace(params={}, stats={}))
    found = drawn(Net(lambda key, x: ({}, {}), apply), 3, classes=2)(state, KEY, 5)
    assert found[:, 0, 0, 0].tolist() == [0, 1, 0, 1, 0]


def test_a_generator_takes_the_statistics_of_the_images_it_makes():
    """Those that it was trained with; latents are drawn from the key, a row an image."""

    def apply(params, stats, z, *, train, key=None):
        return {"image": jnp.where(train, z, jnp.nan).reshape(-1, 1, 3, 1)}, stats

    state = SimpleNamespace(generator=SimpleNamespace(params={}, stats={}))
    images = drawn(Net(lambda key, x: ({}, {}), apply), 3)
    found = images(state, KEY, 4)
    np.testing.assert_array_equal(found.reshape(4, 3), jax.random.normal(KEY, (4, 3)))


def test_what_was_never_pushed_is_not_remembered():
    pool = push(new_queue(jnp.zeros((9, 2, 2, 1), jnp.uint8)), jnp.full((3, 2, 2, 1), 51, jnp.uint8))
    found = remembered(SimpleNamespace(pool=pool), KEY, 50)
    np.testing.assert_allclose(found, 0.2, rtol=1e-6)


def test_no_image_of_the_pool_comes_twice_before_all_have_come():
    pool = push(new_queue(jnp.zeros((9, 1, 1, 1), jnp.uint8)), jnp.arange(6, dtype=jnp.uint8).reshape(6, 1, 1, 1))
    found = np.round(255 * remembered(SimpleNamespace(pool=pool), KEY, 12)).ravel()
    assert sorted(found[:6]) == sorted(found[6:]) == list(range(6)) and list(found[:6]) != list(range(6))


def test_the_newest_of_a_pool_come_first_also_where_it_has_begun_anew():
    pool = new_queue(jnp.zeros((5, 1, 1, 1), jnp.uint8))
    for first in (1, 4):
        pool = push(pool, jnp.arange(first, first + 3, dtype=jnp.uint8).reshape(3, 1, 1, 1))
    found = np.round(255 * newest(SimpleNamespace(pool=pool), KEY, 4)).ravel()
    assert list(found) == [6, 5, 4, 3]


def test_both_networks_are_asked_in_evaluation_mode():
    student, teacher = conv_net((2,), 3), conv_net((4,), 3)
    x = jax.random.uniform(KEY, (6, 4, 4, 1))
    (p, s), (q, t) = student.init(KEY, x), teacher.init(KEY, x)
    learner = SimpleNamespace(params={"student": p}, stats={"student": s})
    state = SimpleNamespace(student=SimpleNamespace(learner=learner, given={"teacher": Frozen(q, t)}))
    found = judged(lambda state, key, count: x[:count], student, teacher, 6)(state)
    np.testing.assert_allclose(found["logits"], teacher.apply(q, t, x, train=False)[0]["logits"], rtol=1e-5)
    np.testing.assert_allclose(found["student_logits"], student.apply(p, s, x, train=False)[0]["logits"], rtol=1e-5)
    assert found["features"].shape == (6, 4) and found["batch_norm"].shape == ()


def test_images_in_the_order_of_the_classes_that_the_teacher_finds():
    """A teacher whose class is the first pixel."""
    net = Net(lambda key, x: ({}, {}), lambda p, s, x, *, train, key=None: ({"logits": jax.nn.one_hot(x[:, 0, 0, 0], 4)}, s))
    state = SimpleNamespace(student=SimpleNamespace(given={"teacher": Frozen({}, {})}))
    made = jnp.array([[3, 0], [1, 1], [3, 2], [0, 3], [1, 4]], jnp.int32).reshape(5, 1, 2, 1)
    found = by_class(lambda state, key, count: made[:count], net)(state, KEY, 5)
    assert found.reshape(5, 2).tolist() == [[0, 3], [1, 1], [1, 4], [3, 0], [3, 2]]


def test_a_row_a_class():
    asked = lambda state, key, count: (jnp.arange(count) % 3).reshape(-1, 1, 1, 1) + 10 * state  # noqa: E731
    assert class_rows(asked, 3, 2)(1, KEY)[..., 0, 0, 0].tolist() == [[10, 10], [11, 11], [12, 12]]
