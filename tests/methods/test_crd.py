import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, defaults, look, start

from kdjax import losses, methods
from kdjax.core import InputError
from kdjax.methods.offline.crd import crd_objective

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (jnp.asarray(RNG.normal(size=(2, d)), jnp.float32) for d in (5, 6))
SIDES = ("student", "teacher")


def seen_of(index, student=STUDENT, teacher=TEACHER):
    return look({"pooled": student}, {"pooled": teacher}).replace(batch={"index": jnp.asarray(index)})


def begin(seen, **options):
    """The adapter, its weights and banks, of four images."""
    objective = crd_objective(**{"labels": [0, 1, 0, 1], "negatives": 2, "width": 3} | options)
    return objective.adapter, *objective.adapter.init(jax.random.key(1), seen)


def after(seen, net, params, stats):
    taps, new = jax.jit(lambda p, s, x: net.apply(p, s, x, train=True))(params, stats, seen)
    return taps["contrast"], new


def embeddings(seen, params):
    return [getattr(seen, side)["pooled"] @ params[side]["kernel"] + params[side]["bias"][None] for side in SIDES]


@pytest.mark.parametrize("negatives", [2, 50])
def test_the_first_value_where_nothing_is_told_apart_yet(negatives):
    """All similarities are alike, so an anchor costs log(1 + K) + K log(1 + 1 / K); both sides are anchors."""
    seen = seen_of([2, 1], 0 * STUDENT, 0 * TEACHER)
    net, params, stats = begin(seen, negatives=negatives)
    value, _ = after(seen, net, jax.tree.map(jnp.zeros_like, params), stats)
    np.testing.assert_allclose(value, 2 * (np.log1p(negatives) + negatives * np.log1p(1 / negatives)), rtol=1e-5)


def test_only_the_batch_s_rows_of_the_banks_move_towards_its_embeddings():
    seen = seen_of([2, 1])
    net, params, stats = begin(seen)
    _, new = after(seen, net, params, stats)
    for side, rows in zip(SIDES, embeddings(seen, params), strict=True):
        old, moved = stats["banks"][side], new["banks"][side]
        np.testing.assert_array_equal(moved[jnp.array([0, 3])], old[jnp.array([0, 3])])
        half = (old[jnp.array([2, 1])] + rows / jnp.linalg.norm(rows, axis=1, keepdims=True)) / 2
        np.testing.assert_allclose(moved[jnp.array([2, 1])], half / jnp.linalg.norm(half, axis=1, keepdims=True), atol=1e-6)


def test_the_constants_are_set_once():
    net, params, stats = begin(seen_of([2, 1]))
    _, new = after(seen_of([2, 1]), net, params, stats)
    _, later = after(seen_of([0, 3], 2 * STUDENT, 3 * TEACHER), net, params, new)
    assert stats["constants"].tolist() == [-1, -1] and -1 not in new["constants"]
    np.testing.assert_array_equal(later["constants"], new["constants"])


def test_images_without_a_label_are_classes_of_their_own():
    """Two of the same number -1 are each other's negatives: with as many negatives as other images, all are drawn."""
    seen = seen_of([2, 1])
    net, params, stats = begin(seen, labels=[-1] * 4, negatives=3)
    value, _ = after(seen, net, params, stats)
    contrast = jnp.array([[2, 0, 1, 3], [1, 0, 2, 3]])
    both = [*embeddings(seen, params), *stats["banks"].values()]
    constants = losses.crd_constants(*both, contrast, stats["constants"], temperature=0.07)
    np.testing.assert_allclose(value, losses.crd(*both, contrast, constants, temperature=0.07).mean(), rtol=1e-5)


def test_the_options_and_the_key_reach_the_loss_and_the_banks():
    index, labels = jnp.array([2, 1]), jnp.array([0, 1, 0, 1])
    seen = seen_of(index).replace(key=jax.random.key(9))
    net, params, stats = begin(seen, temperature=0.5, momentum=0.9, positive="relax", negatives=1)
    value, new = after(seen, net, params, stats)
    contrast = losses.crd_contrast(seen.key, index, labels, negatives=1, positive="relax")
    assert contrast[:, 0].tolist() != [2, 1]
    rows, banks = embeddings(seen, params), stats["banks"]
    both = [*rows, banks["student"], banks["teacher"]]
    constants = losses.crd_constants(*both, contrast, -jnp.ones(2), temperature=0.5)
    np.testing.assert_allclose(value, losses.crd(*both, contrast, constants, temperature=0.5).mean(), rtol=1e-5)
    np.testing.assert_allclose(new["constants"], constants, rtol=1e-5)
    assert not np.array_equal(banks["student"], banks["teacher"])
    _, alike, _ = begin(seen_of(index, STUDENT, STUDENT))
    assert not np.array_equal(alike["student"]["kernel"], alike["teacher"]["kernel"])
    for side, x in zip(SIDES, rows, strict=True):
        np.testing.assert_allclose(new["banks"][side], losses.crd_update(banks[side], x, index, momentum=0.9), atol=1e-6)


def test_numbers_say_which_image_is_which_row():
    plain = after(seen_of([2, 0]), *begin(seen_of([2, 0])))
    numbered = after(seen_of([30, 10]), *begin(seen_of([30, 10]), numbers=[10, 20, 30, 40]))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(numbered), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_reach_both_embeddings_and_no_bank():
    seen = seen_of([2, 1])
    net, params, stats = begin(seen)

    def value(params, banks):
        return net.apply(params, {**stats, "banks": banks}, seen, train=True)[0]["contrast"]

    slopes, into_banks = jax.jit(jax.grad(value, (0, 1)))(params, stats["banks"])
    assert all(np.abs(slopes[side][part]).max() > 1e-3 for side in SIDES for part in ("kernel", "bias"))
    assert not any(np.any(x) for x in jax.tree.leaves(into_banks))


def test_micro_batches_and_labels_of_a_wrong_shape_are_refused():
    case = CASES["crd"](micro=2)
    with pytest.raises(InputError, match=r"micro=2 .* 'contrast' couples the rows"):
        jax.eval_shape(case.method.step, start(case), case.batch, jax.random.key(0))
    with pytest.raises(InputError, match=r"labels=\(4, 4\) is not accepted"):
        crd_objective(labels=jnp.eye(4))


def test_the_defaults_are_the_paper_s():
    found = defaults(methods.crd)
    assert found.pop("labels") is not None
    assert found == {
        "label_weight": 1.0, "numbers": None, "weight": 0.8, "temperature": 0.07, "negatives": 16384, "width": 128, "momentum": 0.5,
        "positive": "exact",
    }  # fmt: skip


def test_the_embeddings_start_as_pytorch_s_linear_layers():
    _, params, _ = begin(seen_of([2, 1]), width=100)
    for side, inputs in (("student", 5), ("teacher", 6)):
        for x in params[side].values():
            assert 0.9 < np.abs(x).max() * np.sqrt(inputs) <= 1


def test_an_embedding_of_no_numbers_is_refused():
    with pytest.raises(InputError, match=r"^width=0 is not accepted: expected 1 or more"):
        crd_objective(labels=[0, 1], width=0)
