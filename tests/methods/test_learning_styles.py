from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, learning_styles, start, student_of, taught
from own_lessons import KEY
from tiny_nets import frozen, labelled_images, staged, without_batch_norm

from kdjax import methods
from kdjax.core import InputError

TX = optax.sgd(0.05)


def stepped(case, state, steps=1):
    step = jax.jit(case.method.step)
    for _ in range(steps):
        state, metrics = step(state, case.batch, KEY)
    return state, metrics


def outputs(case, state):
    """The taps of both students, in training mode."""
    return [
        case.nets[f"peer{k}"].apply(one.params, one.stats, case.batch["image"], train=True)[0] for k, one in enumerate(state.peers)
    ]


def test_without_exchange_it_is_kd_and_fitnet():
    """From the same weights, as each is."""
    case = learning_styles(style="P/F/-", weight=0.7, temperature=3.0)
    state = start(case)
    options = {"label_weight": 1.0, "weight": 0.7}
    pair = [
        taught(methods.kd, staged(), staged(None, 6), TX, temperature=3.0, **options),
        taught(methods.fitnet, staged(), staged(None, 6), TX, layer="stage2", **options),
    ]
    new, _ = stepped(case, state, 3)
    for k, own in enumerate(pair):
        alone = start(own)
        first, peer = alone.learner, state.peers[k]
        params, stats = ({**getattr(first, kind), "student": getattr(peer, kind)} for kind in ("params", "stats"))
        if k:  # the regressor of fitnet lies in a sum of objectives, in both
            (params["adapter"],), (stats["adapter"],) = state.adapter.params.values(), state.adapter.stats.values()
        other, _ = stepped(own, alone._replace(learner=first.replace(params=params, stats=stats)), 3)
        close(student_of(other), (new.peers[k].params, new.peers[k].stats), atol=1e-6)


@pytest.mark.parametrize(("style", "received"), [("P/F/PF", "FP"), ("P/P/P", "PP"), ("-/-/F", "FF"), ("F/-/FP", "PF")])
def test_what_each_receives(style, received):
    case = learning_styles(style=style, temperature=2.0)
    state = start(case)
    seen = outputs(case, state)
    _, metrics = stepped(case, state)
    for k, word in enumerate(received):
        own, other = seen[k], seen[1 - k]
        if word == "F":
            wanted = np.mean((np.float64(own["stage2"]) - np.float64(other["stage2"])) ** 2)
        else:
            p, q = (jax.nn.log_softmax(jnp.asarray(x["logits"]) / 2) for x in (own, other))
            wanted = 4 * np.mean(np.sum(np.exp(np.float64(q)) * (np.float64(q) - np.float64(p)), -1))
        np.testing.assert_allclose(metrics[f"peer{k}_exchange"], wanted, rtol=1e-4)
    first = style[0]
    assert {name: f"peer0_{name}" in metrics for name in ("distillation", "hint")} == {
        "distillation": first == "P", "hint": first == "F",
    }  # fmt: skip


def test_no_gradient_flows_into_what_is_received():
    """The first student's step does not know what its answers do to the second."""
    case, other = learning_styles(style="P/-/P"), learning_styles(style="P/F/PF")
    state = start(case)
    twins = state._replace(peers=(state.peers[0], state.peers[0]))
    new, metrics = stepped(case, twins)
    assert abs(metrics["peer0_exchange"]) < 1e-6  # equal students teach each other nothing
    plain, _ = stepped(learning_styles(style="P/-/-"), twins)
    close(new.peers[0].params, plain.peers[0].params, atol=1e-6)
    assert not equal(start(other).peers[0].params, start(other).peers[1].params)


@pytest.mark.parametrize("style", ["X/P", "X/P/P", "P/F/FF", "P/PF/P", "", "P/F"])
def test_an_unknown_style_is_refused(style):
    with pytest.raises(InputError, match=rf"^style='{style}' is not accepted: expected <teacher to the first>/<to the second>"):
        learning_styles(style=style)


def test_two_students_are_needed():
    with pytest.raises(InputError, match=r"^students=1 is not accepted: expected 2 networks"):
        methods.learning_styles([staged()], staged(), TX)


def test_gradients_are_accumulated_over_slices():
    """Of nets without batch statistics to the same step."""
    nets, make = [without_batch_norm()] * 2, partial(methods.learning_styles, style="P/-/P")
    whole, sliced = (make(nets, nets[0], TX, micro=micro) for micro in (1, 4))
    batch = labelled_images()
    state = whole.init(KEY, batch, {"teacher": frozen(nets[0])})
    (a, _), (b, _) = (jax.jit(one.step)(state, batch, KEY) for one in (whole, sliced))
    close(a.peers[1].params, b.peers[1].params, atol=1e-6)


def test_each_network_passes_once_a_step():
    """The exchange adds no convolution, forwards or backwards, but for the gradients that flow into last maps."""
    counts = []
    for style in ("P/P/-", "P/P/P"):
        case = learning_styles(style=style)
        counts.append(jax.jit(case.method.step).lower(start(case), case.batch, KEY).as_text().count("stablehlo.convolution"))
    assert counts[0] == counts[1] > 0
