"""What a stage does to its State between steps."""

import json
from queue import SimpleQueue

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TEST, TRAIN, assert_same, metrics, resumed, run, stage, weights, with_params

from kdjax.data import subset
from kdjax.train import run_stages


def taken(calls):
    return [calls.get() for _ in range(calls.qsize())]


def test_refresh_is_called_at_absolute_steps_also_after_a_resume(tmp_path):
    calls = SimpleQueue()  # whose content is no option of what holds it

    def refresh(collect, state, step, key):
        calls.put((step, np.asarray(jax.random.key_data(key)).tolist()))
        kernel, bias = state.learner.params["student"]
        return with_params(state, [kernel, bias + jax.random.normal(key, (3,))])

    stages = {"only": stage(members=2, refresh=refresh, refresh_every=4)}
    whole = run_stages(stages, run(tmp_path / "whole"))
    wanted = taken(calls)
    assert [step for step, _ in wanted] == [0, 0, 4, 4, 8, 8, 12, 12] and len({str(k) for _, k in wanted}) == 8
    pieces = resumed(tmp_path / "pieces", stages, (2, 1))
    assert_same(weights(pieces), weights(whole))
    assert taken(calls) == wanted
    run_stages({"only": stage(refresh=refresh)}, run(tmp_path / "never"))
    assert taken(calls) == []
    run_stages({"only": stage(steps=2, refresh=refresh, refresh_every=4)}, run(tmp_path / "single", seed=4))
    alone = taken(calls)
    assert alone[:1] == wanted[1:2]  # the member that starts from seed 4
    assert [step for step, _ in alone] == [0, 2]  # and after the last step


@pytest.mark.parametrize("resident", [True, False])
def test_what_is_refreshed_has_seen_the_stage_s_rows_and_is_evaluated_and_saved(tmp_path, resident):
    seen = []

    def refresh(collect, state, step, key):
        outputs, columns = collect("train", "logits")
        kernel, _ = state.learner.params["student"]
        by_hand = columns["index"] % 7 == collect.rows("train", index_of_seven)[0]
        seen.append((next(iter(outputs.values()))["logits"].shape, bool(by_hand.all())))
        return with_params(state, [kernel, jnp.array([-1e6, 1e6, -1e6])])

    only = stage(refresh=refresh, refresh_every=4, source=subset(TRAIN, np.arange(5, 25)))
    splits = {"train": TRAIN, "test": TEST}
    found = run_stages({"only": only}, run(tmp_path, resident=resident, splits=splits))["only"]
    assert seen == [((20, 3), True)] * 4
    ones = 100 * np.mean(np.arange(9, 20) % 3 == 1)
    lines = [json.loads(x) for x in metrics(tmp_path).splitlines()]
    assert [line["test_accuracy"][0] for line in lines if "test_accuracy" in line] == pytest.approx([ones] * 3)
    assert next(iter(found.weights.values()))["params"][1][0].tolist() == [-1e6, 1e6, -1e6]


def index_of_seven(outputs, batch):
    return batch["index"] % 7
