"""From a section to an optimiser."""

import inspect

import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.sections import OPTIMISER_OPTIONS, lars_section, other_optimiser, sgd_section
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
        **OPTIMISER_OPTIONS[name],
    }  # fmt: skip
    make_optimiser(section, 4, 1)
