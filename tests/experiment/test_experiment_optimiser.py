"""From a section to an optimiser."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.sections import OPTIMISER_OPTIONS, TRICKS, adam_section, lars_section, other_optimiser, sgd_section
from kdjax.train.optimiser import OPTIMISERS


def test_warmup_is_told_in_epochs():
    tx = make_optimiser(sgd_section(1.0, kind="constant", warmup_epochs=2.0, momentum=0.0, weight_decay=0.0), 40, 5)
    state, steps = tx.init(jnp.zeros(())), []
    for _ in range(11):
        update, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        steps.append(-float(update))
    assert steps[9] < steps[10] == 1.0 and sorted(steps) == steps


def test_a_cosine_ends_where_the_section_says():
    section = sgd_section(1.0, last_share=0.1, momentum=0.0, weight_decay=0.0)
    tx = make_optimiser(section, 10, 5)
    state, steps = tx.init(jnp.zeros(())), []
    for _ in range(11):
        update, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        steps.append(-float(update))
    assert steps[0] == 1.0 and abs(steps[10] - 0.1) < 1e-6


def test_fields_of_another_optimiser_are_refused():
    with pytest.raises(InputError, match=r"optimiser 'sgd': .*give it its own fields"):
        make_optimiser({**sgd_section(1.0), "b1": 0.9}, 4, 1)


def test_lars_leaves_biases_and_norms_to_momentum():
    section = lars_section(0.5, kind="constant", warmup_epochs=0.0, momentum=0.0, weight_decay=0.1, eta=0.01)
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0), "scale": jnp.full(2, 3.0)}
    tx = make_optimiser(section, 4, 1)
    updates, _ = tx.update({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}, tx.init(params), params)
    assert jnp.allclose(updates["kernel"], -0.5 * 0.01 * 3.0)  # |w| / |g|, whatever the decay, where w and g have one direction
    assert jnp.allclose(updates["bias"], -0.5) and jnp.allclose(updates["scale"], -0.5)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_defaults_of_a_section_are_all_that_an_optimiser_takes(name):
    takes = inspect.signature(OPTIMISERS[name]).parameters.keys() - {"schedule"}
    assert OPTIMISER_OPTIONS[name].keys() == takes
    section = other_optimiser(sgd_section(0.3, kind="steps", drops=(0.5,), momentum=0.1), name)
    assert section == {
        "name": name, "learning_rate": 0.3, "schedule": "steps", "drops": (0.5,), "warmup_epochs": 0.0, "last_share": 0.0,
        **TRICKS, **OPTIMISER_OPTIONS[name],
    }  # fmt: skip
    make_optimiser(section, 4, 1)


def params_after(section, steps=9):
    tx, params = make_optimiser(section, 9, 3), {"kernel": jnp.full((2, 2), 2.0)}
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update({"kernel": jnp.full((2, 2), 0.3)}, state, params)
        params = {"kernel": params["kernel"] + updates["kernel"]}
    return params["kernel"]


@pytest.mark.parametrize("section", [sgd_section, adam_section])
def test_decay_and_clip_go_up_and_down_again(section):
    plain = {"kind": "constant", "weight_decay": 0.2, "clip": 0.5}
    fixed = params_after(section(0.1, **plain))
    same = params_after(section(0.1, **plain, weight_decay_range=(0.2, 0.2), clip_range=(0.5, 0.5)))
    np.testing.assert_allclose(same, fixed, rtol=1e-6)
    for ends in ({"weight_decay_range": (0.2, 0.9)}, {"clip_range": (0.5, 0.55)}):
        cyclic = section(0.1, **plain, **ends)
        np.testing.assert_allclose(params_after(cyclic, 3), params_after(section(0.1, **plain), 3), rtol=1e-6)
        if section is sgd_section or "clip_range" not in ends:  # the length of equal gradients is nothing to Adam
            assert np.all(np.abs(params_after(cyclic, 6) - params_after(section(0.1, **plain), 6)) > 1e-4)


def test_ranges_and_ascents_that_are_none_are_refused():
    for changed, text in (
        ({"weight_decay_range": (0.2, 0.1)}, r"^weight_decay_range=\(0.2, 0.1\) is not accepted: expected \(min, max\)"),
        ({"cycle": 0.5, "clip_range": (0.1, 0.2)}, r"^cycle=0.5 is not accepted"),
        ({"ascent": -1.0}, r"^ascent=-1.0 is not accepted: expected a radius, 0 or more"),
    ):
        with pytest.raises(InputError, match=text):
            make_optimiser(sgd_section(0.1, **changed), 9, 3)
    with pytest.raises(InputError, match=r"^clip_range=\(0.1, 0.2\) is not accepted: expected \(\) with optimiser 'lars'"):
        make_optimiser(lars_section(0.1, warmup_epochs=0.0, clip_range=(0.1, 0.2)), 9, 3)
