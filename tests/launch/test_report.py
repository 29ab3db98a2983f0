"""Tables of several runs: their numbers, their differences, and what does not belong into one column."""

import csv
import json
import re

import numpy as np
import pytest
from fabricated import ALONE, STUDENT, write_run
from launching import call
from PIL import Image

from kdjax.evaluate import paired_interval
from launch import report
from launch.table import protocol


def ask(*words):
    return call(report, *words)


def columns(answer):
    """The columns of the one table in an answer, by their heads."""
    assert answer.code == 0, answer.err
    rows = [[x.strip() for x in line.strip("|").split(" | ")] for line in answer.out.splitlines() if line.startswith("|")]
    return {head: [row[i] for row in rows[2:]] for i, head in enumerate(rows[0])}


@pytest.fixture
def a(tmp_path):
    return write_run(tmp_path / "a")


def test_one_run_is_compared_with_what_it_names_itself(a):
    found = columns(ask(a))
    assert found["network"] == ["student_alone", "student"] and found["seeds"] == ["3", "3"]
    assert found["test accuracy %"] == ["91.00 ± 1.00", f"93.83 ± {np.std(STUDENT, ddof=1):.2f}"]
    mean, low, high = paired_interval(STUDENT, ALONE)
    assert found["difference to student_alone"] == ["", f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"] and low > 0


def test_an_interval_that_holds_0_is_not_told_apart(tmp_path):
    run = write_run(tmp_path / "a", {"student_alone/test_accuracy": ALONE, "student/test_accuracy": (90.0, 92.0, 91.5)})
    assert columns(ask(run))["difference to student_alone"][1].endswith("], no significant difference")


def test_two_runs_share_the_row_of_a_network_that_both_hold(a, tmp_path):
    b = write_run(tmp_path / "b", method__temperature=2.0, about={"weights": {"student_alone": "1", "student": "2"}})
    write_run(tmp_path / "a", about={"weights": {"student_alone": "1", "student": "3"}})
    found = columns(ask(a, b))
    assert found["run"] == ["a, b", "a", "b"] and found["network"] == ["student_alone", "student", "student"]
    assert found["method"] == ["", "kd, temperature 4", "kd, temperature 2"]


def test_the_method_is_that_of_the_network_where_the_run_says_it(tmp_path):
    methods = {"student_alone": "supervised", "student": "kd"}
    runs = [write_run(tmp_path / str(t), method__temperature=t, about={"methods": methods}) for t in (2.0, 4.0)]
    assert columns(ask(*runs))["method"] == ["supervised", "kd, temperature 2", "supervised", "kd, temperature 4"]


@pytest.mark.parametrize("baseline", ["a", "a/student", "path"])
def test_the_baseline_may_be_a_run(baseline, a, tmp_path):
    b = write_run(tmp_path / "b", {"student/test_accuracy": (94.0, 95.0, 95.5)}, method__name="dkd")
    answer = ask(a, b, f"--baseline={a if baseline == 'path' else baseline}", "--results=student/test_accuracy")
    mean, low, high = paired_interval((94.0, 95.0, 95.5), STUDENT)
    assert columns(answer)["difference to a student"][1].startswith(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]")


def test_the_baseline_may_be_each_runs_own_network(a, tmp_path):
    b = write_run(tmp_path / "b", {"student_alone/test_accuracy": (80.0, 80.0, 80.0), "student/test_accuracy": (90.0, 91.0, 92.0)})
    found = columns(ask(a, b, "--baseline=student_alone"))
    assert [x.split(" ")[0] for x in found["difference to student_alone"]] == ["", "+2.83", "", "+11.00"]


def test_other_seeds_are_not_paired(a, tmp_path):
    b = write_run(tmp_path / "b", seeds=(5, 6, 7))
    found = columns(ask(a, b, "--baseline=a", "--results=student/test_accuracy"))
    assert found["difference to a student"][1] == "not paired: seeds 5, 6, 7 against 0, 1, 2"
    two = write_run(tmp_path / "two", {"student/test_accuracy": STUDENT[:2]}, seeds=(0, 1))
    found = columns(ask(a, two, "--baseline=a", "--results=student/test_accuracy"))
    assert found["difference to a student"][1] == "not paired: seeds 0, 1 against 0, 1, 2"


def test_one_seed_has_a_difference_and_no_interval(tmp_path):
    run = write_run(tmp_path / "a", {"student_alone/test_accuracy": (90.0,), "student/test_accuracy": (91.5,)}, seeds=(4,))
    found = columns(ask(run))
    assert found["test accuracy %"] == ["90.00", "91.50"] and found["difference to student_alone"][1] == "+1.50, one seed"


def test_what_is_not_finite_is_said(tmp_path):
    run = write_run(tmp_path / "a", {"student_alone/test_accuracy": ALONE, "student/test_accuracy": (93.0, None, 95.0)})
    found = columns(ask(run, f"--json={tmp_path / 'x.json'}"))
    assert (
        found["test accuracy %"][1] == "not finite (1 of 3)" and found["difference to student_alone"][1] == "not paired: not finite"
    )


PROTOCOLS = {
    "data.batch": ("data__batch", 128),
    "data.val_fraction": ("data__val_fraction", 0.0),
    "data.augment": ("data__augment", "affine"),
    "select": ("select", "best"),
    "seeds_share": ("seeds_share", "none"),
    "precision": ("precision", "bfloat16"),
    "labels_per_class": ("labels_per_class", 0),
    "student_training.epochs": ("student_training__epochs", 8),
    "student_training.net.name": ("student_training__net__name", "resnet8"),
    "teacher_training.epochs": ("teacher_training__epochs", 9),
    "teacher": ("teacher", "runs/other"),
    "probe.per_class": ("probe__per_class", 10),
}


@pytest.mark.parametrize("field", PROTOCOLS)
def test_another_protocol_is_refused(field, a, tmp_path):
    name, value = PROTOCOLS[field]
    b = write_run(tmp_path / "b", **{name: value})
    answer = ask(a, b)
    assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1
    assert answer.err.startswith(f"error: {field} is ") and f" in {a} and " in answer.err and f" in {b}: " in answer.err
    assert (str(value) if value else "0") in answer.err and "--split-protocols" in answer.err


FREE = {
    "method__temperature": 8.0, "student_training__optimiser__learning_rate": 0.5, "data__source": "npz:/elsewhere/y.npz",
    "devices": 4, "parallel": "pmap", "members": "vmap", "evaluate_epochs": 2, "data__reader": "streaming", "data__crop": 0,
}  # fmt: skip


@pytest.mark.parametrize("field", FREE)
def test_what_makes_no_other_protocol_is_not_refused(field, a, tmp_path):
    assert ask(a, write_run(tmp_path / "b", **{field: FREE[field]})).code == 0


def test_other_data_are_refused_by_their_bytes(a, tmp_path):
    data = {"source": "npz:/somewhere/x.npz", "digest": "cd" * 32, "names": ["cat", "dog"], "shape": [8, 8, 1]}
    answer = ask(a, write_run(tmp_path / "b", about={"data": data}))
    assert answer.code == 2 and "data is npz:x.npz (sha256 abababababab)" in answer.err and "(sha256 cdcdcdcdcdcd)" in answer.err


def test_the_epochs_to_choose_from_count_where_the_best_is_taken(a, tmp_path):
    runs = [write_run(tmp_path / str(n), select="best", evaluate_epochs=n) for n in (1, 2)]
    assert ask(*runs).err.startswith("error: evaluate_epochs is 1 in ")


def test_a_teacher_from_outside_counts_by_its_weights(tmp_path):
    def given(name, digest, place):
        return write_run(
            tmp_path / name, teacher=place, teacher_training__epochs=len(name), about={"teacher": {"sha256": digest * 64}}
        )

    same, moved, other = given("a", "1", "x/t.safetensors"), given("bb", "1", "y/t.safetensors"), given("c", "2", "x/t.safetensors")
    assert ask(same, moved).code == 0
    answer = ask(same, other)
    assert answer.code == 2 and "teacher is given, sha256 111111111111" in answer.err


def test_split_makes_a_table_for_each_protocol(a, tmp_path):
    runs = [a, write_run(tmp_path / "b", data__batch=128), write_run(tmp_path / "c")]
    answer = ask(*runs, "--split-protocols", f"--out={tmp_path / 'out.md'}")
    assert answer.code == 0 and answer.out == f"6 rows written to {tmp_path / 'out.md'}, plotted beside it\n"
    text = (tmp_path / "out.md").read_text()
    assert re.findall("^## (.*)", text, re.M) == ["data.batch 64", "data.batch 128"]
    assert re.findall(r"\((.*\.png)\)", text) == ["out-1.png", "out-2.png"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["out-1.png", "out-2.png"]
    first, second = text.split("## data.batch 128")
    assert "| c | student |" in first and "batch 64;" in first and "| b | student |" not in first and "batch 128;" in second


def test_titles_of_tables_stay_short(a, tmp_path):
    far = {"data__batch": 1, "select": "best", "precision": "bfloat16", "seeds_share": "none", "labels_per_class": 0}
    answer = ask(a, write_run(tmp_path / "b", **far), "--split-protocols")
    titles = re.findall("^## (.*)", answer.out, re.M)
    assert titles[0] == "seeds_share batch, precision float32, select last, data.batch 64 and 1 more fields"
    assert titles[1].startswith("seeds_share none, precision bfloat16, select best, data.batch 1 and ")


def test_a_field_may_vary_in_the_open(a, tmp_path):
    found = ask(a, write_run(tmp_path / "b", student_training__epochs=8), "--vary=student_training.epochs")
    assert columns(found)["student_training.epochs"] == ["4", "4", "8", "8"]
    assert "Rows differ in student_training.epochs" in found.out and "4 epochs" not in found.out
    assert "--vary=nothing is not known; accepted: " in ask(a, "--vary=nothing").err


def test_the_best_epoch_is_that_of_validation_and_of_the_budget(a):
    found = columns(ask(a))
    assert found["best on the way"] == ["val accuracy 83.00 at epoch 3"] * 2 and found["last"] == ["82.00 at epoch 4"] * 2
    assert "no test image was looked at" in ask(a).out and "chosen on test images" not in ask(a).out


def test_the_best_test_epoch_is_called_too_high(tmp_path):
    answer = ask(write_run(tmp_path / "a", curve="test_accuracy", data__val_fraction=0.0))
    assert columns(answer)["best on the way"][0] == "test accuracy 83.00 at epoch 3" and "chosen on test images" in answer.out


def test_an_alarm_is_told_as_it_was_told_last(a):
    lines = [json.loads(x) for x in (a / "metrics.jsonl").read_text().splitlines()]
    own = [x for x in lines if x["stage"] == "student"]
    own[0]["alarms"], own[1]["alarms"], own[2]["alarms"] = {"rank_me": "at first"}, {"rank_me": "in the end <b>"}, ["damaged"]
    (a / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    answer = ask(a)
    assert "Alarm, student: in the end &lt;b&gt;." in answer.out and "at first" not in answer.out and answer.out.count("Alarm") == 1


def test_of_a_sweep_the_chosen_point_has_the_best_epoch(tmp_path):
    points = {"student": [{"learning_rate": 0.5, "val_accuracy": 88.0}, {"learning_rate": 0.1, "val_accuracy": 70.0}]}
    run = write_run(tmp_path / "a", {"student/test_accuracy": (90.0, 91.0)}, seeds=(0, 1), points=points)
    curve = [([60, 62, 90, 91], 1), ([69, 71, 87, 89], 2)]
    lines = [{"stage": "student", "step": 36 * e, "epoch": e, "val_accuracy": v} for v, e in curve]
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    answer = ask(run)
    assert columns(answer)["best on the way"] == ["val accuracy 90.50 at epoch 2"]
    assert "student: learning rate 0.5, chosen by val accuracy % among 0.5; 0.1." in answer.out
    lines[1]["val_accuracy"] = [1, 2, 3, 4]  # no line has the scores that the point was chosen by
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert "best on the way" not in columns(ask(run))


def test_rows_are_plotted_one_below_the_other(tmp_path, monkeypatch):
    from matplotlib import pyplot as plt

    kept = []
    monkeypatch.setattr(plt, "close", kept.append)
    write_run(tmp_path / "runs/a")
    write_run(tmp_path / "runs/b", method__temperature=8.0)
    assert ask(tmp_path / "runs", "--results=test_accuracy", f"--out={tmp_path}").code == 0
    (axes,) = kept[0].axes
    names = [label.get_text() for label in axes.get_yticklabels()]  # the highest on top
    assert names == ["a student alone", "b student alone", "a student", "b student"]
    assert axes.get_xlabel() == "test accuracy (%)" and not axes.patches  # no lengths from an axis that does not begin at 0
    with Image.open(tmp_path / "report.png") as image:
        assert image.width == 960


def test_what_many_networks_share_is_told_once():
    told = dict.fromkeys("abcde", "4 epochs") | {"f": "2 epochs", "g": "", "h": "2 epochs"}
    assert protocol._together(told) == "f and h 2 epochs, all others 4 epochs"
    assert protocol._together(dict.fromkeys("abcde", "x")) == "all networks x"
    assert protocol._together(dict.fromkeys("abcd", "x")) == "a and b and c and d x" and protocol._together({}) == ""


def test_the_protocol_is_told_in_words(a):
    text = ask(a).out
    phrases = """data npz:x.npz (sha256 abababababab), 2 classes, images 8x8x1; 900 training and 450 test images
labels per class known to students: 20; budget student_alone and student 4 epochs = 72 steps; batch 64
networks student_alone and student conv_net widths (8, 16); teacher trained in the run
results at the last step; seeds share batches
float32.
seeds 0, 1, 2.
Device: cpu; commit: c0ffeec0ffee.
Student's t"""
    for phrase in phrases.splitlines():
        assert phrase in text
    assert "/somewhere" not in text


def test_validation_images_of_its_own_and_what_was_not_read_are_told(a, tmp_path):
    assert "100 validation images cut from training with seed 0" in ask(a).out
    about = json.loads((a / "config.json").read_text())["data"] | {"own_val": True, "notes": ["not read: 1 hidden (.x)"]}
    text = ask(write_run(tmp_path / "b", about={"data": about})).out
    assert "450 test images, 100 validation images of its own; not read: 1 hidden (.x); " in text and "cut from" not in text


def test_turned_images_are_another_protocol_and_are_told(a, tmp_path):
    about = json.loads((a / "config.json").read_text())["data"]
    runs = {on: write_run(tmp_path / str(on), about={"data": about | {"exif_orientation": on}}) for on in (False, True)}
    assert "; images turned as their EXIF orientation says; " in ask(runs[True]).out and "EXIF" not in ask(runs[False]).out
    assert ask(a, runs[False]).code == 0  # a run of an earlier version turned none
    assert ask(runs[False], runs[True]).err.startswith("error: exif_orientation is none in ")
    by_config = write_run(tmp_path / "c", about={"data": about | {"exif_orientation": True}}, data__exif_orientation=True)
    assert ask(runs[True], by_config).code == 0  # turned when they were packed


def test_skipped_images_are_told_and_count(a, tmp_path):
    b = write_run(tmp_path / "b", summary={"damaged": ["x.png cannot be decoded"]})
    assert "images that could not be decoded, where the next one stood in: 1" in ask(b).out
    assert ask(a, b).err.startswith("error: damaged images is none in ")


def test_results_measures_and_order_can_be_chosen(tmp_path):
    values = {"teacher/test_accuracy": (97.0,), "student/test_accuracy": STUDENT, "student/test_nll": (0.3, 0.2, 0.25)}
    low = write_run(tmp_path / "low", values | {"student/test_accuracy": ALONE})
    high = write_run(tmp_path / "high", values | {"student/test_nll": (0.9, 0.9, 0.9)})
    found = columns(ask(low, high, "--results=test_accuracy,student/test_nll", "--sort=test_nll"))
    assert found["run"] == ["low", "high", "low", "high"] and found["test nll"] == ["0.250 ± 0.050", "0.900 ± 0.000", "", ""]
    found = columns(ask(low, high, "--results=student/test_accuracy", "--sort=test_accuracy", "--labels=one,two"))
    assert found["run"] == ["two", "one"]


def test_plot_csv_and_json_hold_the_same_numbers(a, tmp_path):
    answer = ask(a, f"--out={tmp_path / 'new'}", f"--csv={tmp_path / 'x.csv'}", f"--json={tmp_path / 'x.json'}")
    assert answer.code == 0 and sorted(p.name for p in (tmp_path / "new").iterdir()) == ["report.md", "report.png"]
    with Image.open(tmp_path / "new/report.png") as image:
        assert len(image.convert("RGB").getcolors(10**6)) > 20
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [float(r["value"]) for r in rows] == [*ALONE, *STUDENT] and {r["seed"] for r in rows} == {"0", "1", "2"}
    (table,) = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert table["rows"][1]["values"]["test_accuracy"] == list(STUDENT) and table["protocol"]["data.batch"] == 64
    assert table["rows"][1]["differences"]["test_accuracy"][0]["mean"] == pytest.approx(np.mean(np.subtract(STUDENT, ALONE)))


def test_a_folder_of_runs_is_taken_apart(a, tmp_path):
    write_run(tmp_path / "deep/er/b")
    write_run(tmp_path / "deep/c")
    (tmp_path / "deep/c/summary.json").unlink()
    answer = ask(tmp_path)
    assert columns(answer)["run"] == ["a", "a", "b", "b"]
    assert (
        answer.err
        == f"left out: {tmp_path / 'deep/c'} is not finished: it has no summary.json; the command that began it goes on with it\n"
    )
    write_run(tmp_path / "deep/a")
    assert set(columns(ask(tmp_path))["run"]) == {f"{tmp_path.name}/a", "deep/a", "er/b"}


def test_runs_of_older_versions_are_read(a, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "summary.json").write_text(
        json.dumps({"results": {"student/test_accuracy": {"mean": 91.0, "std": 1.0, "values": [90, 92]}}})
    )
    found = ask(old)
    assert columns(found)["test accuracy %"] == ["91.00 ± 1.41"] and "data unknown" in found.out
    assert ask(a, old).code == 2 and ask(a, old, "--split-protocols").code == 0


REFUSED = {
    "nothing": ([], "expected a run's folder"),
    "a place that is not there": (["{0}/none"], "is not there: expected a run's folder"),
    "an empty folder": (["{0}/empty"], "holds no run"),
    "the config.json of something else": (["{0}/foreign"], "holds no run"),
    "an unfinished run": (["{0}/begun"], "is not finished"),
    "a damaged summary": (["{0}/torn"], "summary.json is damaged"),
    "a summary without values": (["{0}/hollow"], "summary.json is damaged"),
    "a result that is not there": (["{0}/a", "--results=student/test_acuracy"], "accepted: student/test_accuracy"),
    "a measure that is not there": (["{0}/a", "--results=test_ec"], "--results=test_ec is not in these runs"),
    "a baseline that is not there": (["{0}/a", "--baseline=student_alon"], "accepted: student_alone"),
    "a baseline in a run that is not there": (["{0}/a", "--baseline=b/student"], "--baseline=b/student is not known"),
    "too few labels": (["{0}/a", "--labels=x,y"], "expected 1 different names"),
    "a measure to sort by": (["{0}/a", "--sort=size"], "--sort=size is not accepted"),
    "a file for a folder": (["{0}/a", "--out={0}/a/summary.json"], "is a file"),
    "a table in no folder": (["{0}/a", "--csv={0}/none/x.csv"], "the folder"),
    "another flag": (["{0}/a", "--bseline=a"], "unrecognized arguments: --bseline=a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case, a, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.json").write_text('{"model_type": "bert"}')
    (write_run(tmp_path / "begun") / "summary.json").unlink()
    (write_run(tmp_path / "torn") / "summary.json").write_text('{"results": {')
    (write_run(tmp_path / "hollow") / "summary.json").write_text('{"results": {"student/test_accuracy": {"mean": 3}}}')
    words, said = REFUSED[case]
    answer = ask(*(word.format(tmp_path) for word in words))
    assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1
    assert answer.err.startswith("error: ") and said in answer.err


def test_help_names_every_flag():
    answer = ask("--help")
    flags = ("results", "baseline", "labels", "sort", "vary", "split-protocols", "out", "csv", "json")
    assert answer.code == 0 and all(f"--{flag}" in answer.out for flag in flags)
