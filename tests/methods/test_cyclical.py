import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from own_lessons import KEY, learns_as_supervised, same_as_golden, seen_of, total
from self_distil_cases import SELF_DISTIL
from tiny_nets import without_batch_norm

from kdjax import losses, methods
from kdjax.core import InputError, ascend
from kdjax.methods.self_distil.cyclical import cyclical_objective

RUN = {"steps_per_epoch": 4, "epochs": 20}
LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0])


def at(step, labels=LABELS, **options):
    return total(cyclical_objective(**RUN, **options), seen_of({"logits": LOGITS}, labels, step=jnp.int32(step)))


@pytest.mark.parametrize("name", ["cyclical_early", "cyclical_late", "modified"])
def test_golden(golden, name):
    g = golden(f"cfl/{name}")
    objective = cyclical_objective(
        steps_per_epoch=3, epochs=int(g["hp_epochs"]), cycle=float(g["hp_factor"]), focal=True, smoothing=float(g["hp_epsilon"]),
        gamma_easy=float(g["hp_gamma_hc"]), gamma_pos=float(g["hp_gamma_pos"]), gamma_neg=float(g["hp_gamma_neg"]),
    )  # fmt: skip
    step = jnp.int32(3 * int(g["hp_epoch"]) + 1)
    same_as_golden(g, lambda z: total(objective, seen_of({"logits": z}, g["labels"], step=step)), "logits_s")


def test_the_temperature_is_highest_in_the_middle():
    """`CE(z / T)`, without T^2, by hand."""
    for epoch, t in ((0, 0.5), (5, 2 - 1.5 * (1 - 10 / 19)), (19, 0.5)):
        z = LOGITS.astype(float) / t
        by_hand = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(5), LABELS])
        np.testing.assert_allclose(at(4 * epoch + 3, temperature=(0.5, 2.0)), by_hand, rtol=1e-5)


def test_equal_ends_are_a_constant():
    learns_as_supervised(
        SELF_DISTIL["cyclical"](net=without_batch_norm(), temperature=(1.0, 1.0), focal=False), net=without_batch_norm()
    )
    fixed = losses.cyclical_focal(LOGITS, LABELS, easy=0.7, smoothing=0.1).mean()
    for step in (0, 33, 79):
        np.testing.assert_allclose(at(step, focal=True, hard=(0.3, 0.3), smoothing=0.1), fixed, rtol=1e-5)


def test_mixed_labels_of_the_focal_loss_are_their_largest_class():
    mixed = 0.7 * np.eye(3)[LABELS] + 0.1
    np.testing.assert_array_equal(at(20, mixed, focal=True), at(20, focal=True))


def test_all_of_it_goes_together_with_an_ascent():
    """Each of them moves the step."""
    batch = SELF_DISTIL["cyclical"]().batch
    net, found = without_batch_norm(), []
    for radius, options in ((0.0, {}), (0.0, {"focal": True}), (0.3, {"focal": True}), (0.3, {"temperature": (2.0, 2.0)})):
        method = methods.cyclical(net, ascend(optax.sgd(0.5), radius), **RUN, **options)
        state, _ = jax.jit(method.step)(method.init(KEY, batch, {}), batch, KEY)
        found.append(np.asarray(state.learner.params["student"]["b"]))
    assert all(np.abs(a - b).max() > 1e-4 for k, a in enumerate(found) for b in found[:k])


def test_wrong_options_are_refused():
    for changed, text in (
        ({"temperature": (2.0, 1.0)}, r"^temperature=\(2.0, 1.0\) is not accepted: expected \(min, max\)"),
        ({"temperature": (0.0, 1.0)}, r"^temperature=0.0 is not accepted: expected numbers above 0"),
        ({"hard": (0.0, 1.5)}, r"^hard=1.5 is not accepted"),
        ({"cycle": 0.5}, r"^cycle=0.5 is not accepted"),
        ({"hard": (0.0, 0.5)}, r"^hard=\(0.0, 0.5\) is not accepted: expected \(0.0, 1.0\) without focal"),
    ):
        with pytest.raises(InputError, match=text):
            cyclical_objective(**RUN, **changed)
