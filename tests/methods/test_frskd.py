import jax
import numpy as np
import optax
import pytest
from cases import CASES
from own_lessons import learns_as_supervised, same_as_golden, seen_of, total
from tiny_nets import staged

from kdjax import methods
from kdjax.core import InputError, Net
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.dks import dks_objective
from kdjax.methods.self_distil.frskd import frskd_objective

TX = optax.sgd(0.1)


def golden_loss(g, **options):
    whole = combine(labels_objective(), frskd_objective(pyramid=None, **options))  # pyright: ignore

    def loss(own, taught, f0, f1):
        taps = {"logits": own, "fused_logits": taught, "stage1": f0, "stage2": f1, "fused1": g["f_t0"], "fused2": g["f_t1"]}
        return total(whole, seen_of(taps, g["labels"]))

    return loss


def test_golden_of_the_library(golden):
    """The gradient of the imitation flows into the pyramid too."""
    g = golden("self_kd_lib/frskd")
    g |= {
        f"grad_{new}": g[f"grad_{old}"]
        for new, old in (("own", "logits_s"), ("taught", "logits_bi"), ("f0", "f_s0"), ("f1", "f_s1"))
    }
    g |= {"own": g["logits_s"], "taught": g["logits_bi"], "f0": g["f_s0"], "f1": g["f_s1"]}
    same_as_golden(g, golden_loss(g, temperature=g["hp_temperature"].item(), stop_teacher=False), "own", "taught", "f0", "f1")


def test_golden_of_the_authors(golden):
    """Imitation and attention, no gradient into the pyramid."""
    g = golden("frskd/attention")
    options = {"weight": g["hp_alpha"].item(), "feature_weight": g["hp_beta"].item(), "temperature": g["hp_temperature"].item()}
    objective = frskd_objective(pyramid=None, teacher_weight=0.0, **options)  # pyright: ignore

    def loss(own, taught, f0, f1, g0, g1):
        taps = {"logits": own, "fused_logits": taught, "stage1": f0, "stage2": f1, "fused1": g0, "fused2": g1}
        return total(objective, seen_of(taps, np.zeros(3, int)))

    names = ("logits_s", "logits_t", "f_s0", "f_s1", "f_t0", "f_t1")
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(6))))(*(g[name] for name in names))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, g[f"grad_{name}"], atol=1e-4 * np.abs(g[f"grad_{name}"]).max() + 1e-12)


def test_without_weights_the_network_learns_from_labels_alone():
    learns_as_supervised(CASES["frskd"](teacher_weight=0.0, weight=0.0, feature_weight=0.0, tx=TX), net=staged(), tx=TX)


def test_a_temperature_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"^temperature=0.0 is not accepted"):
        methods.frskd(None, None, pyramid=None, temperature=0.0)  # pyright: ignore


def test_two_objectives_with_heads_are_no_sum():
    heads = Net(lambda key, taps: ({}, {}), lambda params, stats, taps, *, train, key=None: ({}, stats))
    with pytest.raises(InputError, match=r"^2 objectives have heads behind the stages of the network: expected one at most"):
        combine(dks_objective(exits=heads), frskd_objective(pyramid=heads))
