import json

import pytest
from PIL import Image

from kdjax.experiment.report_table import Lines, Points, ReportTable
from launch.table import report_tables

ROWS = {"byol": {"digits": [90.0, 92.0], "x|y": 1.5}, "a <b>": {"digits": [float("nan"), 1.0], "rank": "first"}}


def test_markdown_has_all_columns_means_and_names_as_text():
    text = report_tables.markdown(ReportTable("transfer", "Transfer", ROWS, 1, "A note.", Points("x", "y", {})))
    assert text.splitlines() == [
        "## Transfer",
        "",
        "|  | digits | x\\|y | rank |",
        "| --- | ---: | ---: | ---: |",
        "| byol | 91.0 ± 1.4 | 1.5 |  |",
        "| a &lt;b&gt; | not finite |  | first |",
        "",
        "![Transfer](plots/transfer.png)",
        "",
        "A note.",
        "",
    ]


def test_values_are_json():
    found = json.loads(json.dumps(report_tables.plain(ReportTable("t", "T", ROWS)), allow_nan=False))
    assert found["rows"]["byol"] == {"digits": [90.0, 92.0], "x|y": 1.5} and found["rows"]["a <b>"]["digits"] == [None, 1.0]


PLOTS = {
    "lines": Lines("labels", "accuracy (%)", [10, 20, 40], {"usl": [[1, 2], [3, 4], [5, 6]], "random": [[1.0], (), [2.0]]}, True),
    "points": Points("distance", "accuracy (%)", {"digits": {"byol": (1.0, 2.0), "a_$": (2.0, 1.0)}}),
    "groups": Points("distance", "accuracy (%)", {"digits": {"byol": (1.0, 2.0)}, "noisy": {"byol": (3.0, 1.0)}}),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_have_title_axes_and_marks(name, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(report_tables.look, "save", lambda figure, path: kept.append((figure, path)))
    report_tables.draw(tmp_path, [ReportTable("none", "No plot", {}), ReportTable(name, "A title", {}, plot=PLOTS[name])])
    ((figure, path),) = kept
    axes, plot = figure.axes[0], PLOTS[name]
    assert path == tmp_path / f"{name}.png" and axes.get_title() == "A title"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (plot.x, plot.y)
    if name == "lines":
        (_, usl), (_, random) = [(line.get_label(), line.get_xydata().tolist()) for line in axes.lines]
        assert usl == [[10, 1.5], [20, 3.5], [40, 5.5]] and random == [[10, 1], [40, 2]] and axes.get_xscale() == "log"
    if name == "points":
        assert axes.lines[0].get_xydata().tolist() == [[1, 2], [2, 1]] and [x.get_text() for x in axes.texts] == ["byol", r"a \$"]
    if name == "groups":
        assert [x.get_text() for x in axes.get_legend().get_texts()] == ["digits", "noisy"]
        assert len({line.get_marker() for line in axes.lines}) == 2


def test_names_of_near_points_lie_apart():
    points = {"vicreg": (0.0, 0.0), "barlow_twins": (-0.4, 0.01), "moco": (1.0, 1.0), "simclr": (0.99, 0.99), "byol": (2.0, 1.0)}
    (axes,) = report_tables._points(Points("x", "y", {"": points})).axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 5 and not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    marks = axes.transData.transform(list(points.values()))
    assert not any(box.contains(*mark) for box in boxes for mark in marks)


def test_plots_are_written(tmp_path):
    report_tables.draw(tmp_path, [ReportTable("lines", "A title", {}, plot=PLOTS["lines"])])
    with Image.open(tmp_path / "lines.png") as image:
        assert image.size[0] > 500
