import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, start
from own_lessons import KEY, learns_as_supervised, same_as_golden, seen_of, total
from tiny_nets import CLASSES, LABELS, ROWS

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.self_distil.ps_kd import ps_kd_objective


@pytest.mark.parametrize("name", ["ps_kd/three_epochs", "self_kd_lib/ps_kd"])
def test_golden(golden, name):
    """The authors' bank has zeros where the first epoch left an image out."""
    g = golden(name)
    epochs = int(g["hp_end_epoch"] if "hp_end_epoch" in g else g["hp_epochs"])
    objective = ps_kd_objective(labels=g["labels"], steps_per_epoch=1, epochs=epochs, alpha=g["hp_alpha_T"].item())
    _, stats = objective.adapter.init(KEY, seen_of({"logits": g["logits"][0]}))
    first = np.zeros(len(g["labels"]), bool)
    first[g["indices"][0]] = True
    begun = {"bank": jnp.where(first[:, None], stats["bank"], 0)}

    def loss(logits):
        stats, value = begun, 0.0
        for epoch, (z, rows) in enumerate(zip(logits, g["indices"], strict=True)):
            seen = seen_of({"logits": z}, g["labels"][rows], batch={"index": jnp.asarray(rows)}, step=jnp.int32(epoch))
            adapted, stats = objective.adapter.apply({}, stats, seen, train=True)
            value += total(objective, seen, adapted)
        return value

    same_as_golden(g, loss, "logits")


def test_without_softening_it_is_supervised_training():
    learns_as_supervised(CASES["ps_kd"](alpha=0.0))


def test_the_bank_is_written_after_it_was_read():
    """Of the images of a batch, by their numbers; the first epoch learns from the labels."""
    case = CASES["ps_kd"](numbers=3 * np.arange(ROWS), steps_per_epoch=1, epochs=4)
    state = start(case)
    half = jax.tree.map(lambda x: x[::2], case.batch) | {"index": 3 * jnp.arange(ROWS)[::2]}
    step = jax.jit(case.method.step)
    bank = lambda state: np.asarray(state.learner.stats["adapter"]["0"]["bank"])  # noqa: E731
    np.testing.assert_array_equal(bank(state), np.eye(CLASSES)[np.asarray(LABELS)])
    logits = lambda state: case.nets["network"].apply(  # noqa: E731
        state.learner.params["student"], state.learner.stats["student"], half["image"], train=True
    )[0]["logits"]
    first, metrics = step(state, half, KEY)
    log_p = jax.nn.log_softmax(logits(state))
    np.testing.assert_allclose(bank(first)[::2], np.exp(log_p), atol=1e-6)
    np.testing.assert_array_equal(bank(first)[1::2], bank(state)[1::2])
    labels = np.eye(CLASSES)[np.asarray(LABELS[::2])]
    np.testing.assert_allclose(metrics["softened_labels"], -(labels * log_p).sum(1).mean(), rtol=1e-5)
    _, metrics = step(first, half, KEY)
    target = 0.6 * labels + 0.4 * np.exp(log_p)  # alpha 2 / 4
    np.testing.assert_allclose(metrics["softened_labels"], -(target * jax.nn.log_softmax(logits(first))).sum(1).mean(), rtol=1e-5)


def test_a_run_that_was_saved_goes_on_with_its_bank():
    case = CASES["ps_kd"]()
    step = jax.jit(case.method.step)
    state, _ = step(start(case), case.batch, KEY)
    again = jax.tree.map(jnp.asarray, jax.device_get(state))
    close(step(state, case.batch, KEY), step(again, case.batch, KEY))


def test_images_without_a_label_are_refused():
    with pytest.raises(InputError, match=r"^labels \[3\] hold 1 images without one"):
        methods.ps_kd(None, None, labels=np.array([0, -1, 2]), steps_per_epoch=1, epochs=1)  # pyright: ignore


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"epochs": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}=.* is not accepted"):
        methods.ps_kd(None, None, **{"labels": LABELS, "steps_per_epoch": 1, "epochs": 1} | options)  # pyright: ignore


def test_a_batch_is_not_sliced():
    case = CASES["ps_kd"](micro=2)
    with pytest.raises(InputError, match="micro=2 is not accepted: the term 'softened_labels' couples the rows"):
        jax.eval_shape(case.method.step, start(case), case.batch, KEY)
