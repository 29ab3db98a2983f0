import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, start
from own_lessons import KEY, same_as_golden, seen_of, total
from tiny_nets import CLASSES, staged

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.dks import dks_objective
from kdjax.models import exits


def test_golden(golden):
    """The first of the authors' exits is the network's own classifier."""
    g = golden("self_kd_lib/dks")
    whole = combine(labels_objective(), dks_objective(exits=None, temperature=g["hp_temperature"].item()))  # pyright: ignore

    def loss(logits):
        exits = {f"exit{k}": z for k, z in enumerate(logits[1:], 1)}
        return total(whole, seen_of({"logits": logits[0]} | exits, g["labels"]))

    same_as_golden(g, loss, "logits")


def test_two_exits_are_two_peers_that_learn_at_once():
    """The terms are those of `dml`, of the same two predictions."""
    case = CASES["dks"](temperature=1.0)
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    logits = jnp.stack(predictions(case, state))
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    kl = [np.mean(np.sum(np.exp(log_p[j]) * (log_p[j] - log_p[1 - j]), -1)) for j in (0, 1)]
    np.testing.assert_allclose(metrics["synergy"], sum(kl), rtol=1e-4)
    labels = np.arange(16), np.asarray(case.batch["label"])
    np.testing.assert_allclose([metrics["cross_entropy"], metrics["exits"]], [-log_p[k][labels].mean() for k in (0, 1)], rtol=1e-4)


def predictions(case, state):
    """Of the classifier and of the exit, in training mode."""
    params, stats = state.learner.params, state.learner.stats
    taps, _ = staged().apply(params["student"], stats["student"], case.batch["image"], train=True)
    heads = exits({"name": "conv_net", "classes": CLASSES})
    return [taps["logits"], heads.apply(params["heads"], stats["heads"], taps, train=True)[0]["exit1"]]


def test_a_temperature_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"^temperature=0.0 is not accepted"):
        methods.dks(None, None, exits=None, temperature=0.0)  # pyright: ignore
