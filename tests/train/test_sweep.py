import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TEST, assert_close, linear, run, sgd, stage

from kdjax import methods
from kdjax.core import Frozen, InputError
from kdjax.evaluate import Measure
from kdjax.train import over_members, run_stages, stack, sweep
from kdjax.train.optimiser import schedule
from kdjax.train.optimiser import sgd as full_sgd
from kdjax.train.sweep import choose


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
        assert_close([x[i] for x in new.inner.learner.params["student"]], want.learner.params["student"], 1e-6)
    np.testing.assert_array_equal(new.hyper["temperature"], [1.0, 4.0])


def test_the_best_point_is_kept_by_validation_and_its_seeds_with_it(tmp_path):
    method, hyper = sweep(lambda rate: methods.supervised(linear(), sgd(rate)), {"rate": [0.0, 0.2, 0.05]}, seeds=2)
    seen = {"val": np.array([10, 20, 60, 50, 70, 30.0]), "test": np.array([99.0, 99.0])}
    one = stage(method, members=6, seeds=2, hyper=hyper, choose=True, steps=4)
    one = one._replace(evaluate=lambda collect, split, final: {"accuracy": seen[split]})
    kept = run_stages({"only": one}, run(tmp_path / "all"))["only"]
    assert [p["rate"] for p in kept.points] == [0.2, 0.05, 0.0]
    assert [p["val_accuracy"] for p in kept.points] == [55.0, 50.0, 15.0]
    plain = run_stages({"only": stage(methods.supervised(linear(), sgd(0.2)), members=2, steps=4)}, run(tmp_path / "plain"))["only"]
    assert_close(kept.weights, plain.weights, 1e-6)
    again = run_stages({"only": one}, run(tmp_path / "all"))["only"]
    assert again.points == kept.points
    with pytest.raises(InputError, match="a sweep that chooses is not accepted"):
        run_stages({"only": one}, run(tmp_path / "b", splits={"test": TEST}))
    with pytest.raises(InputError, match="a sweep that chooses is not accepted: stage 'only' measures accuracy, no knn"):
        run_stages({"only": one._replace(score="knn")}, run(tmp_path / "c"))


def test_of_a_score_of_which_less_is_better_the_lowest_point_is_kept(tmp_path):
    method, hyper = sweep(lambda rate: methods.supervised(linear(), sgd(rate)), {"rate": [0.0, 0.2, 0.05]})
    seen = {"val": np.array([20, 10, 30.0]), "test": np.array([99.0])}
    one = stage(
        method, members=3, hyper=hyper, choose=True, steps=2, score="distance", measures=(Measure("distance", "", "lower"),)
    )
    one = one._replace(evaluate=lambda collect, split, final: {"distance": seen[split]})
    kept = run_stages({"only": one}, run(tmp_path))["only"]
    assert [p["val_distance"] for p in kept.points] == [10, 20, 30] and kept.points[0]["rate"] == 0.2


def test_a_point_that_is_no_number_is_never_chosen():
    members, points = choose({"rate": np.array([0.1, 0.2, 0.3])}, "accuracy", [float("nan"), 1.0, 2.0])
    assert members == [2] and [p["rate"] for p in points] == [0.3, 0.2, 0.1]


@pytest.mark.parametrize("values", [(), (0.1, float("nan")), (0.1, float("inf")), (0.1, 1e300), (0.1, 0.2, 0.1)])
def test_values_that_are_not_finite_or_come_twice_are_refused(values):
    with pytest.raises(InputError, match=r"rate=\(.*\) is not accepted: expected one finite number of single"):
        sweep(make, {"momentum": [0.9], "rate": values})


def test_every_point_is_built_with_its_own_numbers():
    def smoothed(smoothing):
        return methods.supervised(linear(), sgd(0.1), smoothing=smoothing)

    with pytest.raises(InputError, match=r"the point smoothing=1\.5 of a sweep is refused: smoothing=1\.5 is not accepted"):
        sweep(smoothed, {"smoothing": (0.1, 0.2, 1.5)})
