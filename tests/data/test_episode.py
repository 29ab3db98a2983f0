import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import array_source, episodes, process_rows, support_and_query

LABELS = np.repeat([0, 2, 3, 5, 9], [9, 8, 7, 12, 30])[np.arange(66) * 5 % 66]
TASK = {"way": 3, "shot": 2, "query": 4}


def test_a_task_holds_its_classes_in_order_and_no_row_twice():
    sampler = episodes(LABELS, **TASK, episodes=4)
    assert sampler.batch == 4 * 18 and sampler.group == 18
    for step in range(30):
        rows = sampler.rows(1, step)
        assert rows.dtype == np.int32
        for task in rows.reshape(4, 18):
            assert len(set(task.tolist())) == 18
            support, query = LABELS[task[:6]].reshape(3, 2), LABELS[task[6:]].reshape(3, 4)
            assert (support == support[:, :1]).all() and (query == support[:, :1]).all()
            assert len(set(support[:, 0].tolist())) == 3


def test_classes_and_rows_are_drawn_evenly():
    rows = np.concatenate([episodes(LABELS, **TASK).rows(2, step) for step in range(1500)])
    classes = np.bincount(LABELS[rows])[[0, 2, 3, 5, 9]] / len(rows)
    np.testing.assert_allclose(classes, 0.2, atol=0.015)
    of_class = np.bincount(rows, minlength=len(LABELS))[LABELS == 9]
    np.testing.assert_allclose(of_class / of_class.mean(), 1, atol=0.25)
    support = np.concatenate([episodes(LABELS, **TASK).rows(2, step)[:6] for step in range(1500)])
    assert set(support.tolist()) == set(range(len(LABELS)))


def test_a_task_is_the_same_however_many_a_step_has():
    several, single = episodes(LABELS, **TASK, episodes=4), episodes(LABELS, **TASK)
    np.testing.assert_array_equal(several.rows(0, 2), np.concatenate([single.rows(0, 8 + e) for e in range(4)]))
    assert not np.array_equal(single.rows(0, 8), single.rows(1, 8))
    assert [several.epoch_of(step) for step in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_whole_tasks(processes):
    sampler = episodes(LABELS, **TASK, episodes=4)
    rows = sampler.rows(0, 5)
    parts = [process_rows(rows, p, processes, group=sampler.group) for p in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    for part in parts:
        support, _ = support_and_query({"label": LABELS[part]}, **TASK)
        assert support["label"].shape == (4 // processes, 6)
    with pytest.raises(InputError, match=r"batch=72 .*multiple of 3, the processes times 18"):
        process_rows(rows, 0, 3, group=sampler.group)


PINNED = [47, 6, 34, 65, 19, 59]  # part of the format of a run: these numbers do not change


def test_the_order_is_pinned():
    assert episodes(LABELS, way=2, shot=1, query=2).rows(5, 3).tolist() == PINNED


def test_support_and_query():
    images = np.arange(len(LABELS), dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    sampler = episodes(LABELS, **TASK, episodes=2)
    batch = jax.tree.map(jnp.asarray, array_source(images, LABELS).read(sampler.rows(0, 0)))
    support, query = jax.jit(lambda b: support_and_query(b, **TASK))(batch)
    assert support["image"].shape == (2, 6, 2, 2, 1) and query["image"].shape == (2, 12, 2, 2, 1)
    for part, each in ((support, 2), (query, 4)):
        assert part["way"].dtype == jnp.int32
        np.testing.assert_array_equal(part["way"], [np.repeat([0, 1, 2], each)] * 2)
        np.testing.assert_array_equal(part["label"], LABELS[part["index"]])
        np.testing.assert_array_equal(part["image"][..., 0, 0, 0], part["index"])
        classes = support["label"].reshape(2, 3, 2)[..., 0]
        np.testing.assert_array_equal(np.take_along_axis(classes, part["way"], axis=1), part["label"])


def test_a_batch_of_broken_tasks_is_refused():
    with pytest.raises(InputError, match=r"label has 19 rows: .*= 18"):
        support_and_query({"label": np.zeros(19)}, **TASK)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"query": 6}, r"^class 3 has 7 rows: .*2 \+ 6 = 8"),
        ({"way": 6}, "way=6 .*2 to 5, the classes of the set"),
        ({"way": 1}, "way=1 .*2 or more"),
        ({"shot": 0}, "shot=0 .*1 or more"),
        ({"query": 0}, "query=0 .*1 or more"),
        ({"episodes": 0}, "episodes=0 .*1 or more"),
    ],
)
def test_refusals(change, line):
    with pytest.raises(InputError, match=line) as error:
        episodes(LABELS, **{**TASK, **change})
    assert "\n" not in str(error.value)


def test_labels_must_be_there():
    with pytest.raises(InputError, match="labels hold -1"):
        episodes(np.array([0, 1, -1]), **TASK)
    with pytest.raises(InputError, match="step=-1"):
        episodes(LABELS, **TASK).rows(0, -1)
