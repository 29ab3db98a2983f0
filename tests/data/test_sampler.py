import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data.sampler import (
    DOMAINS,
    EPOCHS,
    VAL_SPLIT,
    bits,
    endless,
    epoch_of,
    epoch_order,
    epoch_rows,
    epoch_steps,
    epochs,
    pieces,
    process_rows,
    shuffled,
)


def test_order_is_a_permutation_and_repeats_itself():
    order = epoch_order(3, 2, 1000)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    epoch_order.cache_clear()
    np.testing.assert_array_equal(order, epoch_order(3, 2, 1000))


def test_order_differs_by_epoch_and_seed():
    orders = [epoch_order(seed, epoch, 100).tolist() for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert len({tuple(o) for o in orders}) == 4
    assert not np.array_equal(shuffled(100, 0, 1, EPOCHS), shuffled(100, 0, 1, VAL_SPLIT))


def test_the_stream_is_pinned():
    # These numbers are part of the format of a run: if they change, runs can no longer be resumed or compared.
    assert epoch_order(0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert epoch_order(2**63 + 1, 7, 1_000)[:8].tolist() == [509, 877, 197, 507, 967, 599, 438, 668]


def test_a_cached_order_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(0, 0, 4)[0] = 1


def test_an_epoch_visits_each_row_at_most_once():
    size, batch = 11, 3
    steps = size // batch
    seen = np.concatenate([epoch_rows(5, step, size=size, batch=batch) for step in range(steps)])
    np.testing.assert_array_equal(seen, epoch_order(5, 0, size)[: steps * batch])
    np.testing.assert_array_equal(epoch_rows(5, steps, size=size, batch=batch), epoch_order(5, 1, size)[:batch])


def test_epoch_of():
    assert [epoch_of(step, size=11, batch=3) for step in (0, 2, 3, 5, 6)] == [0, 0, 1, 1, 2]


def test_epochs_is_a_sampler_of_these_rows():
    sampler = epochs(11, 3)
    assert sampler.batch == 3 and sampler.group == 1
    for step in range(7):
        np.testing.assert_array_equal(sampler.rows(5, step), epoch_rows(5, step, size=11, batch=3))
        assert sampler.epoch_of(step) == epoch_of(step, size=11, batch=3)
    with pytest.raises(InputError, match=r"batch=12 .* 1 to 11"):
        epochs(11, 12)


def test_an_epoch_may_keep_its_last_partial_batch():
    kept = epochs(11, 3, keep_last=True)
    assert kept.batch == 3 and kept.rest == 2 and epoch_steps(11, 3, keep_last=True) == 4 and epoch_steps(11, 3) == 3
    assert [kept.epoch_of(step) for step in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]
    for epoch in (0, 1):
        seen = [kept.rows(5, 4 * epoch + step) for step in range(4)]
        assert [len(rows) for rows in seen] == [3, 3, 3, 2]
        np.testing.assert_array_equal(np.concatenate(seen), epoch_order(5, epoch, 11))
    whole = epochs(12, 3, keep_last=True)
    assert whole.rest == 0 and epoch_steps(12, 3, keep_last=True) == 4 and len(whole.rows(5, 3)) == 3
    assert epochs(11, 3).rest == 0


@pytest.mark.parametrize(
    ("first", "end", "lengths"),
    [
        (0, 8, [7, 1]),  # an epoch
        (16, 22, [6]),
        (4, 8, [3, 1]),  # a part that ends with an epoch
        (5, 27, [2, 1, 7, 1, 7, 1, 2, 1]),  # what is left at the ends goes by powers of two
    ],
)
def test_pieces_have_equally_many_rows_a_step_and_few_lengths(first, end, lengths):
    sampler = epochs(23, 3, keep_last=True)
    found = pieces(range(first, end), lambda step: sampler.rows(5, step))
    assert [len(steps) for steps, _ in found] == lengths
    assert [step for steps, _ in found for step in steps] == list(range(first, end))
    for steps, rows in found:
        np.testing.assert_array_equal(rows, [sampler.rows(5, step) for step in steps])


def test_draws_with_other_numbers_never_meet():
    keys = [(s, n, stream, part) for s in (0, 1) for n in (0, 1) for stream in (EPOCHS, DOMAINS) for part in (0, 1)]
    drawn = [bits(64, *key) for key in keys]
    assert len({x.tobytes() for x in drawn}) == len({word for x in drawn for word in x.tolist()}) / 64 == 16
    np.testing.assert_array_equal(bits(9, *keys[3]), drawn[3][:9])


def test_endless_drops_nothing_between_epochs():
    whole = np.concatenate([epoch_order(4, epoch, 5, DOMAINS, 2) for epoch in range(4)])
    for first in range(12):
        for count in (1, 4, 5, 8):
            np.testing.assert_array_equal(endless(4, first, count, 5, DOMAINS, 2), whole[first : first + count])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_process_rows_together_are_the_global_rows(processes):
    rows = epoch_rows(0, 9, size=50, batch=8)
    parts = [process_rows(rows, p, processes) for p in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: epoch_rows(0, 0, size=4, batch=5), "batch=5 .* 1 to 4"),
        (lambda: epoch_rows(0, 0, size=4, batch=0), "batch=0 .* 1 to 4"),
        (lambda: epoch_rows(0, -1, size=4, batch=2), "step=-1"),
        (lambda: epoch_order(0, -1, 4), "epoch=-1"),
        (lambda: epoch_order(-1, 0, 4), "seed=-1"),
        (lambda: shuffled(4, 0.5, 0, EPOCHS), "seed=0.5"),
        (lambda: process_rows(np.arange(6), 0, 4), "batch=6 .* multiple of 4"),
        (lambda: process_rows(np.arange(6), 0, 2, group=2), "batch=6 .* multiple of 2, the processes times 2"),
        (lambda: endless(0, -1, 1, 4, EPOCHS), "first=-1"),
        (lambda: process_rows(np.arange(6), 2, 2), "process=2 .* 0 to 1"),
        (lambda: process_rows(np.arange(6), 0, 0), "processes=0"),
    ],
)
def test_refusals(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
