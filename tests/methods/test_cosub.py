import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start, student_of
from own_lessons import KEY, same_as_golden, seen_of, total
from self_distil_cases import submodels
from tiny_nets import LABELS, images, labelled_images, small

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import student
from kdjax.methods.self_distil.cosub import binary_objective, cosub_objective


def in_turn(x):
    """Rows of the first submodel before those of the second, to rows 2i and 2i + 1."""
    return jnp.stack(jnp.split(x, 2), axis=1).reshape(x.shape)


def test_golden(golden):
    g = golden("deit/cosub")
    seen = lambda z: seen_of({"logits": in_turn(z)}, in_turn(np.tile(g["targets"], (2, 1))))  # noqa: E731
    same_as_golden(g, lambda z: total(cosub_objective(), seen(z)), "logits")


def test_mixed_labels_may_count_wholly():
    z, mixed = jnp.array([[1.0, -2.0, 0.5]] * 2), jnp.array([[0.7, 0.3, 0.0]] * 2)
    value = total(cosub_objective(weight=0.0, binarised=True), seen_of({"logits": z}, mixed))
    by_hand = np.mean([np.log1p(np.exp(-1)), np.log1p(np.exp(2)), np.log1p(np.exp(0.5))])
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)


def test_without_the_other_submodel_only_labels_teach():
    """As a batch that holds every image twice teaches it."""
    case = CASES["cosub"](weight=0.0)
    plain = student(submodels(), optax.sgd(2.0), binary_objective(), name="network")
    twice = {"image": images().repeat(2, 0), "label": LABELS.repeat(2), "index": jnp.arange(16).repeat(2)}
    a, b = start(case), start(case._replace(method=plain))
    (a, _), (b, _) = jax.jit(case.method.step)(a, case.batch, KEY), jax.jit(plain.step)(b, twice, KEY)
    close(student_of(a), student_of(b), atol=1e-6)


def test_both_passes_draw_for_themselves():
    case = CASES["cosub"]()
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    z = submodels().apply(case.moved(state), {}, images().repeat(2, 0), train=True, key=KEY)[0]["logits"]
    assert 0.2 < np.mean(np.all(np.asarray(z[::2] == z[1::2]), axis=1)) < 0.8
    b = lambda z, y: np.mean(np.logaddexp(0, z) - z * y)  # noqa: E731
    one, two = np.asarray(z, np.float64).reshape(-1, 2, z.shape[1]).swapaxes(0, 1)
    by_hand = (b(one, 1 / (1 + np.exp(-two))) + b(two, 1 / (1 + np.exp(-one)))) / 2
    np.testing.assert_allclose(metrics["other_submodel"], by_hand, rtol=1e-5)


@pytest.mark.parametrize("net", [submodels(rate=0.0), small()])
def test_a_network_without_submodels_is_refused(net):
    with pytest.raises(InputError, match=r"^cosub is not accepted with a network .*: expected drop_path above 0"):
        jax.eval_shape(lambda: methods.cosub(net, optax.sgd(0.1)).init(KEY, labelled_images(), {}))


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match=r"^weight=1.5 is not accepted"):
        methods.cosub(submodels(), optax.sgd(0.1), weight=1.5)
    sliced = CASES["cosub"](micro=2)
    with pytest.raises(InputError, match="micro=2 is not accepted: the term 'other_submodel' couples the rows"):
        jax.eval_shape(sliced.method.step, start(CASES["cosub"]()), sliced.batch, KEY)
