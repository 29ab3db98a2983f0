"""A run whose score is a measure of its own, of which less is better: everything that is shown follows it."""

import json

import numpy as np
import pytest
from launching import TINY, call

from kdjax.core.files import read_lines
from launch import report

CONFIG = """
import numpy as np

from configs import quickstart
from kdjax.evaluate import Measure

get_config = quickstart.get_config


def distance(collect, split, final):
    outputs, columns = collect(split, "logits")
    logits = next(iter(outputs.values()))["logits"]
    return {"distance": np.abs(logits - 9 * np.eye(10)[columns["label"]]).mean((-1, -2))}


def build(config):
    found = quickstart.build(config)
    own = {"evaluate": distance, "score": "distance", "measures": (Measure("distance", "", "lower", 4),)}
    stages = {name: stage._replace(**own) for name, stage in found.stages.items()}
    return found._replace(stages=stages, compare=(("student/test_distance", "student_alone/test_distance"),))
"""


@pytest.fixture(scope="module")
def run(launch, tmp_path_factory):
    """`(folder, answer, summary)` of such a run, at its best steps."""
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(CONFIG)
    answer = launch(f"--config={place / 'own.py'}", f"--workdir={place / 'run'}", *TINY, "--config.select=best")
    assert (answer.code, answer.err) == (0, "")
    return place / "run", answer, json.loads((place / "run" / "summary.json").read_text())


def test_the_summary_names_scores_and_their_measures(run):
    _, answer, summary = run
    assert set(summary["scores"].values()) == {"distance"}
    assert summary["measures"] == {"distance": {"unit": "", "better": "lower", "digits": 4}}
    mean = np.mean(summary["results"]["student/test_distance"]["values"])
    assert f"{mean:.4f} ±" in answer.out and "classify images" in answer.out


def test_results_are_those_of_the_lowest_validation_distance(run):
    folder, _, summary = run
    for stage in ("student_alone", "student"):
        curve = [np.mean(x["val_distance"]) for x in read_lines(folder / "metrics.jsonl") if x["stage"] == stage]
        values = summary["results"][f"{stage}/val_distance"]["values"]
        assert np.mean(values) == pytest.approx(min(curve)) and len(set(curve)) > 1


def test_report_plots_and_card_speak_of_it(run):
    folder, _, summary = run
    text = (folder / "report.md").read_text()
    assert "| test distance |" in text.splitlines()[2] and "accuracy" not in text
    assert "the lowest validation distance, mean over seeds" in text
    assert "results at the step with the best validation distance" in text
    assert (folder / "plots" / "scores.png").is_file() and (folder / "plots" / "curves.png").is_file()
    card = (folder / "export" / "student" / "README.md").read_text()
    assert "- type: distance" in card and "accuracy" not in card and "pipeline_tag: image-classification" in card
    mean = summary["results"]["student/test_distance"]["mean"]
    assert f"{mean:.4f} ±" in card


def test_reports_sort_by_it_from_the_folder_alone(run):
    folder, _, summary = run
    answer = call(report, folder, "--sort=test_distance")
    rows = [line.split(" | ")[0].strip("| ") for line in answer.out.splitlines() if line.startswith("| ")][2:]
    means = [summary["results"][f"{row}/test_distance"]["mean"] for row in rows]
    assert len(means) == 3 and means == sorted(means)
