"""From a section to an optimiser."""

import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.sections import sgd_section


def test_warmup_is_told_in_epochs():
    tx = make_optimiser(sgd_section(1.0, kind="constant", warmup_epochs=2.0, momentum=0.0, weight_decay=0.0), 40, 5)
    state, steps = tx.init(jnp.zeros(())), []
    for _ in range(11):
        update, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        steps.append(-float(update))
    assert steps[9] < steps[10] == 1.0 and sorted(steps) == steps


def test_fields_of_another_optimiser_are_refused():
    with pytest.raises(InputError, match=r"optimiser 'sgd': .*give it its own fields"):
        make_optimiser({**sgd_section(1.0), "b1": 0.9}, 4, 1)
