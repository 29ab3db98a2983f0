"""The tasks that a config names."""

import numpy as np
import pytest

from configs import ssl
from kdjax import data
from kdjax.core import InputError
from kdjax.experiment.tasks import check_tasks, read_tasks, splits_of

DIGITS = data.load("digits")
SECTION = ssl.get_config().data
OPTIONS = {"per_class": 0, "draws": 1, "neighbours": 20, "episodes": 0, "ways": 5, "shots": 5, "queries": 15}


def tasks(*texts):
    return read_tasks(texts, DIGITS, SECTION, "--config.tasks")


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Coloured, twice as large, of three classes."""
    random, arrays = np.random.default_rng(0), {}
    for part, size in (("train", 30), ("test", 12)):
        arrays |= {f"{part}_images": random.integers(0, 256, (size, 16, 16, 3)).astype(np.uint8)}
        arrays |= {f"{part}_labels": np.arange(size, dtype=np.int32) % 3}
    path = tmp_path_factory.mktemp("sets") / "my+letters.npz"
    np.savez(path, **arrays)
    return path


def test_the_set_itself_its_alterations_and_parts_of_its_classes():
    whole, turned, half, both = tasks("original", "rotated", "5-9", "inverted+0-1")
    assert [one.name for one in (whole, turned, half, both)] == ["original", "rotated", "classes_5_9", "inverted_classes_0_1"]
    assert [one.title for one in (half, both)] == ["classes 5-9", "inverted classes 0-1"]
    assert whole.train is DIGITS.train and [one.classes for one in (turned, half, both)] == [10, 5, 2]
    rows = np.arange(9)
    images = DIGITS.train.read(rows)["image"]
    np.testing.assert_array_equal(turned.train.read(rows)["image"], np.rot90(images, axes=(1, 2)))
    kept = np.flatnonzero(DIGITS.test.labels() < 2)
    np.testing.assert_array_equal(both.test.read(rows)["image"], 255 - DIGITS.test.read(kept[:9])["image"])
    assert set(half.train.labels()) == set(range(5)) and both.test.size == len(kept)
    assert len({one.digest for one in (whole, turned, half, both)}) == 4


def test_another_set_comes_in_the_shape_of_the_first(letters):
    plain, altered = tasks(f"npz:{letters}", f"npz:{letters}+mirrored+1-2")
    assert (plain.name, altered.name, altered.classes) == ("my_letters", "my_letters_mirrored_classes_1_2", 2)
    rows = plain.train.read(np.arange(4))
    assert rows["image"].shape == (4, 8, 8, 1) and rows["label"].tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(altered.train.read(np.arange(2))["image"], rows["image"][1:3, :, ::-1])


def test_a_long_tail_is_one_of_the_rows_to_learn_from():
    tail, whole = tasks("inverted+long_tailed:0.1", "inverted")
    assert (tail.name, tail.title) == ("inverted_long_tailed_0_1", "inverted long-tailed 0.1")
    kept = data.long_tailed(DIGITS.train.labels(), 0.1, SECTION.seed)
    assert tail.train.size == len(kept) and tail.test.size == whole.test.size and tail.classes == 10
    np.testing.assert_array_equal(tail.train.read(np.arange(9))["image"], 255 - DIGITS.train.read(kept[:9])["image"])
    other = SECTION.copy_and_resolve_references()
    other.seed += 1
    (redrawn,) = read_tasks(["inverted+long_tailed:0.1"], DIGITS, other, "--config.tasks")
    assert len({one.digest for one in (tail, whole, redrawn, *tasks("inverted+long_tailed:0.2"))}) == 4


def test_splits_have_the_names_that_measures_ask_for():
    (noisy,) = tasks("noisy")
    assert splits_of([noisy]) == {"noisy/train": noisy.train, "noisy/test": noisy.test}


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (
            ("rotatd",),
            "task='rotatd' is not accepted: expected original, inverted, .*, classes as 0-4, long_tailed:0.05, or another",
        ),
        (("",), "task='' is not accepted"),
        (("npz:nowhere.npz",), ".*nowhere.npz"),
        (("7-12",), "classes='7-12' is not accepted: expected two or more of 0-9"),
        (("3-3",), "classes='3-3' is not accepted"),
        (("0-4+5-6",), "classes='5-6' is not accepted: expected two or more of 0-4"),
        (("noisy", "original+noisy"), r"=\('noisy', 'original\+noisy'\) is not accepted: .*each once"),
        ((), "one task or more, each once"),
        (("long_tailed",), "task='long_tailed' is not accepted: expected .*long_tailed:0.05"),
        (("long_tailed:2",), "ratio=2.0 is not accepted"),
        (("long_tailed:0.001",), "ratio=0.001 is not accepted: it leaves class 7 less than one example"),
    ],
)
def test_what_is_no_task_is_refused(texts, line):
    with pytest.raises(InputError, match=f"^--config.tasks.*{line}"):
        tasks(*texts)


def test_images_of_another_form_and_rows_without_labels_are_refused(letters):
    wide = DIGITS._replace(shape=(4, 8, 1))
    with pytest.raises(InputError, match=r"is not accepted: expected images of 4x8, not of 16x16"):
        read_tasks([f"npz:{letters}"], wide, SECTION, "--config.tasks")
    unlabelled = DIGITS._replace(test=DIGITS.test._replace(labels=lambda: np.full(450, -1)))
    with pytest.raises(InputError, match=r"^--config.tasks: task='original' is not accepted: expected images that all have labels"):
        read_tasks(["original"], unlabelled, SECTION, "--config.tasks")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"per_class": 1}, "--config.transfer.per_class=1 is not accepted: expected 2 or more, or 0 for all labels"),
        ({"per_class": 200}, "--config.transfer: task 'original': per_class=200 is not accepted"),
        ({"draws": 0}, "--config.transfer.draws=0"),
        ({"neighbours": 0}, "--config.transfer.neighbours=0 is not accepted: expected 1 or more"),
        ({"neighbours": 600}, "--config.transfer: task 'classes 0-2': neighbours=600 is not accepted"),
        ({"episodes": 5}, "--config.transfer: task 'classes 0-2': ways=5 is not accepted: expected 2 to 3"),
    ],
)
def test_options_that_do_not_fit_a_task_are_refused(changed, line):
    with pytest.raises(InputError, match=f"^{line}"):
        check_tasks(tasks("original", "0-2"), "--config.transfer", OPTIONS | changed)
    check_tasks(tasks("original", "0-2"), "--config.transfer", OPTIONS)
