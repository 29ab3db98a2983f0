import numpy as np
import pytest
from tiny import TEST, TRAIN, accuracy, assert_same, broken, run, stage

from kdjax.core import InputError
from kdjax.train import Stopped, run_stages
from kdjax.train.run import name_damaged, skips_damaged


def test_a_damaged_row_stops_a_run_by_its_name(tmp_path):
    with pytest.raises(InputError, match=r"image 7.png: cannot be decoded; --config.data.corrupt=skip takes the next image"):
        run_stages({"only": stage(source=broken(TRAIN, 7))}, run(tmp_path, resident=False))
    assert not skips_damaged(run(tmp_path)) and skips_damaged(run(tmp_path, corrupt="skip"))


def test_or_it_is_skipped_named_once_and_counted(tmp_path):
    said, lines = [], [f"image {n}.png: cannot be decoded" for n in (7, 8)]
    one = run(tmp_path / "skip", said, resident=False, corrupt="skip")
    found = run_stages({"only": stage(source=broken(TRAIN, 7, 8))}, one)["only"]
    assert sorted(s for s in said if "image" in s) == [f"{line}; the next image is taken instead" for line in lines]
    assert one.damaged == set(lines)
    # The same as a set in which image 9 stands in the places of 7 and 8.
    rows = np.arange(40)
    rows[[7, 8]] = 9

    def read(asked):
        return TRAIN.read(rows[asked])

    instead = run_stages({"only": stage(source=TRAIN._replace(read=read))}, run(tmp_path / "instead", resident=False))["only"]
    assert_same(found.weights, instead.weights)


def test_what_was_skipped_is_remembered_by_a_resumed_and_by_a_finished_run(tmp_path):
    # Row 9 is none of those that the identity of a stage looks at, so that the set can be mended meanwhile.
    stages, options = {"only": stage(source=broken(TRAIN, 9))}, {"resident": False, "corrupt": "skip"}
    left = iter([False, False, True])
    with pytest.raises(Stopped):
        run_stages(stages, run(tmp_path, stop=lambda: next(left), **options))
    for _ in ("resumed", "finished"):
        one = run(tmp_path, **options)
        run_stages({"only": stage(source=TRAIN)}, one)
        assert one.damaged == {"image 9.png: cannot be decoded"}


def test_evaluation_skips_and_stops_likewise(tmp_path):
    splits = {"test": broken(TEST, 2)}
    labels = []

    def measure(collect, split, final):
        labels.append(collect(split, "logits")[1]["label"])
        return accuracy(collect, split, final)

    one = run(tmp_path / "skip", splits=splits, resident=False, corrupt="skip")
    run_stages({"only": stage(evaluate=measure, steps=2)}, one)
    wanted = (np.arange(40) % 3)[9:20]
    wanted[2] = wanted[3]  # the label goes with the image
    np.testing.assert_array_equal(labels[-1], wanted)
    assert one.damaged == {"image 2.png: cannot be decoded"}
    with pytest.raises(InputError, match=r"image 2.png: cannot be decoded"):
        run_stages({"only": stage(steps=2)}, run(tmp_path / "stop", splits=splits, resident=False))


def test_refused_for_all_where_one_process_met_it(tmp_path):
    """With several processes reading steps over the row, and the loop refuses it at the end of the block."""
    with pytest.raises(InputError, match=r"^image a.png is damaged; --config.data.corrupt=skip takes the next image instead$"):
        name_damaged(run(tmp_path), ["image a.png is damaged"])
    name_damaged(run(tmp_path), [])
