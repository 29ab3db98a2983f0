import jax
import jax.numpy as jnp
import numpy as np
from tiny import assert_close, linear, run, sgd, stage

from kdjax import methods
from kdjax.core import Frozen
from kdjax.train import over_members, run_stages, stack, sweep
from kdjax.train.optimiser import schedule
from kdjax.train.optimiser import sgd as full_sgd


def test_the_grid_has_every_combination_and_its_seeds_together():
    _, hyper = sweep(
        lambda rate, decay: methods.supervised(linear(), sgd(rate)), {"rate": [1.0, 2.0], "decay": [3.0, 4.0]}, seeds=2
    )
    assert hyper["rate"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2] and hyper["decay"].tolist() == [3, 3, 4, 4, 3, 3, 4, 4]


def make(rate, momentum=0.9):
    timed = schedule("cosine", rate, steps=12, warmup=2)
    return methods.supervised(linear(), full_sgd(timed, momentum=momentum, weight_decay=1e-3))


def test_members_equal_the_runs_with_their_numbers(tmp_path):
    method, hyper = sweep(make, {"rate": [0.1, 0.3], "momentum": [0.0, 0.9]})
    together = run_stages({"only": stage(method, members=4, hyper=hyper)}, run(tmp_path / "all"))["only"]
    for i in (1, 2):
        alone = stage(make(float(hyper["rate"][i]), float(hyper["momentum"][i])))
        single = run_stages({"only": alone}, run(tmp_path / str(i), seed=3 + i))["only"]
        assert_close(jax.tree.map(lambda x, i=i: x[i : i + 1], together.weights), single.weights, 1e-6)
        assert together.measures["test_accuracy"][i] == single.measures["test_accuracy"][0]


def test_a_temperature_may_be_swept():
    """The check of the option lets a traced number pass, and every point has its own loss."""
    batch = {"image": jax.random.uniform(jax.random.key(0), (6, 4, 4, 1)), "label": jnp.arange(6) % 3}
    given = {"teacher": Frozen(*linear().init(jax.random.key(1), batch["image"]), "digest")}
    method, hyper = sweep(
        lambda temperature: methods.kd(linear(), linear(), sgd(), temperature=temperature), {"temperature": [1.0, 4.0]}
    )
    assert method.needs == ("teacher",)
    state = stack([method.init(jax.random.key(5), batch, given)] * 2)
    state = state._replace(hyper={k: jnp.asarray(v, jnp.float32) for k, v in hyper.items()})
    new, metrics = jax.jit(over_members(method.step, "map", state, False, False))(state, batch, jax.random.key(0))
    for i, t in enumerate(hyper["temperature"]):
        plain = methods.kd(linear(), linear(), sgd(), temperature=float(t))
        want, logged = plain.step(plain.init(jax.random.key(5), batch, given), batch, jax.random.key(0))
        np.testing.assert_allclose(metrics["loss"][i], logged["loss"], atol=1e-6)
        assert_close([x[i] for x in new.inner.student.params], want.student.params, 1e-6)
    np.testing.assert_array_equal(new.hyper["temperature"], [1.0, 4.0])
