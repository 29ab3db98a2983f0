"""What people look at: one look, the chosen point of a sweep, and words and units on every axis."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.decomposition import PCA

from kdjax.data import Dataset, array_source
from kdjax.train.sweep import members_by_point
from launch.run import progress
from launch.table import analysis_plots, embedding, look, plots

RNG = np.random.default_rng(0)
RATES = np.repeat([0.1, 0.5, 2.0], 2)
STAGES = {
    "teacher": SimpleNamespace(members=1, hyper=None, nets={}),
    "student_alone": SimpleNamespace(members=6, hyper={"learning_rate": RATES}, nets={}),
    "student": SimpleNamespace(
        members=2,
        hyper=None,
        nets={"encoder": {"name": "conv_net", "widths": [2], "classes": 0}},
        view=lambda batch: batch["image"],
    ),
}
POINTS = (
    {"learning_rate": 0.5, "val_accuracy": 90.0},
    {"learning_rate": 2.0, "val_accuracy": 60.0},
    {"learning_rate": 0.1, "val_accuracy": 50.0},
)
LINES = [
    {
        "stage": name,
        "step": step,
        "loss": [1.0 / step] * stage.members,
        "val_accuracy": [[0, 1, 80, 84, 3, 4], [70, 72]][stage.members < 6][: stage.members],
    }
    for name, stage in STAGES.items()
    for step in (1, 2)
]
SUMMARY = {
    "method": "kd", "data": "npz:$x.npz",
    "results": {
        "teacher/test_accuracy": {"values": [93.0]}, "student_alone/test_accuracy": {"values": [80.0, 84.0]},
        "student/test_accuracy": {"values": [88.0, 90.0, 89.0]}, "student/test_nll": {"values": [1.0, 1.0, 1.0]},
        "student/test_probe_accuracy": {"values": [50.0, None, 60.0]},
    },
}  # fmt: skip


def analysed():
    """What launch/analyse.py computes of a network of two classes."""
    return {
        "calibration": {"ece": 2.0, "bins": {"share": [0.0, 1.0], "confidence": [0.2, 0.9], "accuracy": [0.0, 0.8]}},
        "cka": {"layers": ["stage1", "logits"], "teacher_layers": ["stage1", "logits"], "values": [[1.0, 0.2], [0.3, 0.9]]},
        "correlation": {"difference": [[0.0, 0.1], [0.1, 0.0]]},
        "sharpness": {"eigenvalue": 3.0, "eigenvalue_error": 0.1, "trace": 9.0, "trace_error": 1.0},
    }


@pytest.fixture
def figures(monkeypatch):
    """Figures by the name of their file, kept open."""
    kept = {}
    write = look.save

    def save(figure, path):
        kept[path.name] = figure
        write(figure, path)

    monkeypatch.setattr(look, "save", save)
    return kept


@pytest.fixture
def drawn(figures, tmp_path, monkeypatch):
    """All plots of a run and of its analysis."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
    rows = array_source(pixels, np.arange(12) % 3)
    dataset = Dataset(rows, None, rows, 3, (4, 4, 1), ("cat", "dog$", "\x1b[31mfox"), "")
    results = {name: SimpleNamespace(points=(), samples=None, frames=None, measures={}) for name in STAGES}
    results["student_alone"].points = POINTS
    features = {"params": {}, "stats": {}}
    frames = {"steps": np.array([7, 14]), "images": np.full((2, 3, 4, 4, 1), 255, np.uint8)}
    results["student"] = SimpleNamespace(
        points=(), samples=np.zeros((9, 4, 4, 1)), frames=frames, measures={"test_rank_me": 1.0},
        frozen=lambda: SimpleNamespace(**features),
    )  # fmt: skip
    taps = lambda params, stats, x, train: ({"pooled": x.reshape(len(x), -1)}, stats)  # noqa: E731
    monkeypatch.setattr("kdjax.models.build", lambda net: SimpleNamespace(apply=taps))
    plots.draw(tmp_path, LINES, SUMMARY, results, SimpleNamespace(stages=STAGES, dataset=dataset))
    analysis_plots.draw(tmp_path / "plots", {"teacher": analysed(), "student": analysed()}, dataset.names, list(STAGES))
    return figures, tmp_path / "plots"


def test_every_plot_has_its_title_axes_and_units(drawn):
    figures, folder = drawn
    pictures = {"student_images.png", "student_frames.png"}  # images have no axes
    assert {p.name for p in folder.iterdir()} == set(figures) | pictures and len(figures) == 7
    for name, figure in figures.items():
        assert figure.get_suptitle() or figure.axes[0].get_title(), name
        for axes in figure.axes:
            assert axes.get_title() or axes.get_label() == "<colorbar>", name
            for axis in (axes.yaxis,) if axes.get_label() == "<colorbar>" else (axes.xaxis, axes.yaxis):
                told, ticks = axis.get_label().get_text(), "".join(text.get_text() for text in axis.get_ticklabels())
                names = re.search("[a-z]", ticks.replace("mathdefault", ""))
                assert told and (names or re.search(r"\(.+\)", told)), (name, told, ticks)
    with Image.open(folder / "student_images.png") as image:
        title = np.asarray(image)[:32]
        assert title.min() < 100 and title.max() == 255


def test_maps_of_features_show_every_class_and_image(drawn, tmp_path):
    figure = drawn[0]["student_embedding.png"]
    components, neighbours = figure.axes
    for axes in (components, neighbours):
        assert [len(one.get_offsets()) for one in axes.collections] == [4, 4, 4]
        assert [one.get_label() for one in axes.collections] == ["cat", r"dog\$", r"\x1b[31mfox"]
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8).reshape(12, 16)
    wanted = PCA(2).fit(pixels.astype(float))
    shown = np.concatenate([one.get_offsets() for one in components.collections])
    points = wanted.transform(pixels.astype(float))[np.argsort(np.arange(12) % 3, kind="stable")]
    np.testing.assert_allclose(np.abs(shown), np.abs(points), rtol=1e-4)
    first, second = wanted.explained_variance_ratio_
    assert components.get_xlabel() == f"first component ({first:.0%} of the variance)"
    assert components.get_ylabel() == f"second component ({second:.0%} of the variance)"
    assert figure.get_suptitle() == "features of 12 test images, student"


@pytest.mark.parametrize("features", [RNG.normal(size=(4, 3)), RNG.normal(size=(9, 1)), np.ones((9, 3)), np.full((9, 3), np.nan)])
def test_of_few_or_broken_features_no_map_is_drawn(features, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_features", lambda *_: features)
    source = array_source(np.zeros((len(features), 2, 2, 1), np.uint8), np.zeros(len(features), int))
    embedding.embedding(tmp_path / "x.png", "encoder", None, None, SimpleNamespace(test=source, names=("a",)))
    assert not any(tmp_path.iterdir())


def test_a_network_keeps_its_colour_in_every_plot(drawn):
    figures, _ = drawn
    curves = {line.get_label(): line.get_color() for line in figures["curves.png"].axes[0].lines if line.get_label()[0] != "_"}
    assert curves == {"teacher": look.GREY, "student alone": look.VERMILION, "student": look.BLUE}
    first = figures["scores.png"].axes[0]
    ticks = [text.get_text() for text in first.get_yticklabels()]
    means = {ticks[int(line.get_ydata()[0])]: line.get_color() for line in first.lines if line.get_marker() == "D"}
    assert means == curves
    bars = [axes.patches[0].get_facecolor() for axes in figures["reliability.png"].axes]
    assert [to_hex(color) for color in bars] == [look.GREY, look.BLUE]
    assert look.styles(["a", "teacher", "b"])["b"] == look.styles(["a", "b", "student"])["b"]
    many = look.styles([f"method{i}" for i in range(27)])
    assert len({str(style) for style in many.values()}) == 27


def test_curves_show_the_point_that_was_chosen_and_others_thin(drawn):
    figure = drawn[0]["curves.png"]
    loss, accuracy = figure.axes
    alone = [line for line in accuracy.lines if line.get_color() == look.VERMILION]
    thin, (chosen,) = [x for x in alone if x.get_linewidth() < 1], [x for x in alone if x.get_linewidth() > 1]
    assert chosen.get_ydata().tolist() == [82.0, 82.0] and chosen.get_label() == "student alone"
    assert sorted(line.get_ydata()[0] for line in thin) == [0.5, 3.5]
    band = accuracy.collections[1].get_paths()[0].vertices[:, 1]  # after that of the teacher
    assert (band.min(), band.max()) == (80, 84)
    assert loss.get_yscale() == "log" and accuracy.get_ylabel() == "val accuracy (%)"
    said = figure.get_supxlabel()
    assert "band: from the least to the largest seed" in said and "Thin lines: points of a sweep that were not chosen" in said
    assert figure.get_suptitle() == r"kd on npz:\$x.npz"


def test_losses_below_zero_and_members_that_are_not_finite_are_drawn(figures, tmp_path):
    lines = [{"stage": "student", "step": s, "loss": [-1.0 * s, None], "val_accuracy": [None, None]} for s in (1, 2)]
    plots.curves(tmp_path / "x.png", lines, {"student": [[0, 1]]}, "kd on digits", SUMMARY)
    loss, _ = figures["x.png"].axes
    assert loss.get_yscale() == "linear" and loss.lines[0].get_ydata().tolist() == [-1.0, -2.0]


def test_accuracies_are_dots_on_ranked_rows_with_mean_and_interval(drawn):
    figure = drawn[0]["scores.png"]
    first, second = figure.axes
    assert not first.patches and first.get_xlabel() == "test accuracy (%)"
    assert [text.get_text() for text in first.get_yticklabels()] == ["student alone", "student", "teacher"]  # the best on top
    rows = [[line for line in first.lines if round(np.mean(line.get_ydata())) == y] for y in range(3)]
    assert [line.get_xdata().tolist() for line in rows[0]] == [[80.0, 84.0], [82.0]]  # of two seeds no interval
    dots, interval, mean = (line.get_xdata() for line in rows[1])
    assert dots.tolist() == [88.0, 90.0, 89.0] and mean.tolist() == [89.0]
    assert interval == pytest.approx([89 - 2.484, 89 + 2.484], abs=1e-3)  # t of 2 degrees, 4.303, times 1 / sqrt(3)
    assert [line.get_xdata().tolist() for line in rows[2]] == [[93.0]]
    assert [text.get_text() for text in first.texts] == ["82.00", "89.00", "93.00"]
    assert second.get_xlabel() == "test probe accuracy (%)" and second.lines[0].get_xdata().tolist() == [50.0, 60.0]
    assert "95% interval of the mean" in figure.get_supxlabel()


def test_of_what_should_be_low_the_lowest_is_on_top(figures, tmp_path):
    plots.bars(tmp_path / "x.png", {"test_nll": {"a run": [2.0], "b run_two": [1.0]}})
    (axes,) = figures["x.png"].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a run", "b run two"] and axes.get_xlabel() == "test nll (nats)"


def test_progress_tells_of_the_point_of_a_sweep_that_is_ahead():
    ahead = progress.Leading({"learning_rate": RATES}, "accuracy", 1)
    assert ahead.note({}) == {}
    first = ahead.note({"stage": "s", "step": 1, "loss": [3.0, 3.0, 2.0, 2.0, 1.0, None]})
    assert first == {"loss": "2", "at": "learning rate 0.5, ahead of 2 others"}  # a point with a loss that is not finite is last
    line = {"loss": [9.0, 9.0, 2.0, 2.0, 1.0, 1.0], "val_accuracy": [90.0, 92.0, 80.0, 80.0, 10.0, 10.0]}
    assert ahead.note(line) == {"loss": "9", "val accuracy": "91", "at": "learning rate 0.1, ahead of 2 others"}
    assert ahead.note({"loss": [7.0, 5.0, 1.0, 1.0, 1.0, 1.0]})["loss"] == "6"  # the loss does not choose any more
    alone = progress.Leading({"learning_rate": np.array([0.1, 0.1])}, "distance", -1)
    assert alone.note({"loss": [1.0, 3.0]}) == {"loss": "2"}
    low = progress.Leading({"learning_rate": RATES}, "distance", -1)
    told = low.note({"loss": [1.0] * 6, "val_distance": [5.0, 5.0, 2.0, 2.0, 9.0, 9.0]})
    assert told == {"loss": "1", "val distance": "2", "at": "learning rate 0.5, ahead of 2 others"}
    assert [members for _, members in members_by_point({"learning_rate": RATES})] == [[0, 1], [2, 3], [4, 5]]
