"""When a stage is lost, and what is kept then."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import linear, run, sgd, stage

from kdjax import methods
from kdjax.core import Learner
from kdjax.train import Diverged, run_stages
from kdjax.train.divergence import check_losses, check_weights, ended

NAN = np.float32("nan")


def test_losses_of_all_members_may_not_be_infinite():
    assert check_losses("s", 4, {"loss": np.ones(2), "other_loss": np.zeros(2), "shift": np.full(2, NAN)}, 0)
    assert not check_losses("s", 4, {"loss": np.array([1.0, NAN])}, 0)
    assert check_losses("s", 4, {"shift": np.full(2, NAN)}, 0)
    told = "s diverged: other_loss is inf at step 4, expected a finite number; lower the learning rate; "
    with pytest.raises(Diverged) as error:
        check_losses("s", 4, {"loss": np.array([1.0, 1.0]), "other_loss": np.array([np.inf, NAN])}, 2)
    assert str(error.value) == told + "the checkpoint of step 2 is kept"
    with pytest.raises(Diverged, match="loss is nan at step 4"):  # each member has one that is not
        check_losses("s", 4, {"loss": np.array([1.0, NAN]), "other_loss": np.array([NAN, 1.0])}, 2)


def test_weights_of_all_members_may_not_be_infinite():
    def held(*values):
        params = {"w": np.array([[1.0, 2.0], values]), "b": np.ones((2, 0))}
        return {"student": Learner(params, {"mean": np.full((2, 1), NAN)}, ()), "bank": np.full((2, 3), -np.inf)}

    check_weights("s", 4, held(1.0, 1.0), 0)
    check_weights("s", 4, held(1.0, NAN), 0)
    lost = held(1.0, NAN)
    lost["student"].params["b"] = np.array([[np.inf], [0.0]])
    with pytest.raises(Diverged, match=r"^s diverged: its weights at step 4 are not finite; lower the learning rate$"):
        check_weights("s", 4, lost, 0)
    check_weights("s", 4, {"bank": np.full((2, 3), NAN)}, 0)


def test_a_line_says_what_is_kept():
    assert str(ended("it ends", 0)) == "it ends" and str(ended("it ends", 8)) == "it ends; the checkpoint of step 8 is kept"


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """The last step of a block may spoil what no loss has seen yet: the state before it is what a run goes on from."""

    def spoilt(at):
        found = methods.supervised(linear(), sgd())

        def step(state, batch, key):
            new, metrics = found.step(state, batch, key)
            bad = jnp.where(new.step == at, jnp.float32(jnp.nan), 0.0)
            params = {name: [x + bad for x in params] for name, params in new.learner.params.items()}
            return new._replace(learner=new.learner.replace(params=params)), metrics

        return found._replace(step=step)

    told = "only diverged: its weights at step 8 are not finite; lower the learning rate; the checkpoint of step 4 is kept"
    said = []
    for _ in range(2):
        with pytest.raises(Diverged) as error:
            run_stages({"only": stage(spoilt(8))}, run(tmp_path / "a", said))
        assert str(error.value) == told
    assert said == ["only: resumed at step 4 of 12"]
