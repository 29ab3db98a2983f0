"""Stages that start from weights of earlier ones."""

import jax
import numpy as np
from tiny import assert_same, linear, run, sgd, stage, with_params

from kdjax import methods
from kdjax.train import run_stages, sweep


def test_a_stage_may_start_from_weights_of_an_earlier_one(tmp_path):
    def warm_start(state, result, member):
        return with_params(state, result.frozen(member=1 - member).params)

    still = methods.supervised(linear(), sgd(0.0))
    results = run_stages(
        {"first": stage(members=2), "second": stage(still, warm_start=warm_start, warm_start_from="first", steps=2, members=2)},
        run(tmp_path),
    )
    first, second = (results[name].weights["network"]["params"] for name in ("first", "second"))
    assert_same([x[::-1] for x in first], second)


def test_a_stage_may_start_from_weights_of_several_stages(tmp_path):
    def warm_start(state, results, member):
        a, b = (result.frozen(member=member).params for result in results)
        return with_params(state, jax.tree.map(lambda x, y: x - y, a, b))

    first, other = stage(members=2), stage(methods.supervised(linear(), sgd(0.5)), members=2)
    still = stage(methods.supervised(linear(), sgd(0.0)), warm_start=warm_start, steps=2, members=2)
    results = run_stages(
        {"first": first, "other": other, "second": still._replace(warm_start_from=("first", "other"))}, run(tmp_path / "a")
    )
    a, b, found = (results[name].weights["network"]["params"] for name in ("first", "other", "second"))
    assert_same(jax.tree.map(lambda x, y: x - y, a, b), found)
    changed = stage(methods.supervised(linear(), sgd(0.4)), members=2)
    again = {"first": first, "other": changed, "second": still._replace(warm_start_from=("first", "other"))}
    assert run_stages(again, run(tmp_path / "b"))["second"].digest != results["second"].digest


def test_every_point_of_a_sweep_goes_on_from_the_weights_of_its_seed(tmp_path):
    def warm_start(state, result, member):
        params = jax.tree.map(lambda x: x[member], result.weights["network"]["params"])
        return with_params(state, params)

    swept, hyper = sweep(lambda rate: methods.supervised(linear(), sgd(rate * 0)), {"rate": [0.1, 0.2]}, seeds=2)
    second = stage(swept, warm_start=warm_start, warm_start_from="first", steps=2, members=4, seeds=2, hyper=hyper)
    results = run_stages({"first": stage(members=2), "second": second}, run(tmp_path))
    first, second = (results[name].weights["network"]["params"] for name in ("first", "second"))
    assert_same(jax.tree.map(lambda x: np.concatenate([x, x]), first), second)
