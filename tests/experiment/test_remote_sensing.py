"""The study of satellite images: labels and transforms of views."""

import jax
import numpy as np
import pytest

from configs.studies import remote_sensing as study
from kdjax.core import InputError
from kdjax.data import label_fraction, load
from kdjax.experiment.remote_sensing import OFF, acting, changed_views, tables, with_bands
from kdjax.experiment.sections import views_section

TRANSFORMS = ("crop", "jitter", "grey", "blur", "flip", "drop")


@pytest.fixture
def config():
    found = study.get_config()
    found.encoder_training.net.widths, found.seeds = (4,), 1
    found.probe.update(per_class=1, draws=1, fractions=(0.01, 0.1))
    found.transforms.names = ("crop", "drop")
    return found


def test_a_stage_for_each_method_transform_and_part_of_the_labels(config):
    found = study.build(config)
    parts = {"supervised_1_percent": 0.01, "supervised_10_percent": 0.1}
    assert set(found.stages) == {"untrained", "moco", *parts, "without_crop", "without_drop"}
    assert found.dataset.shape == (8, 8, 6)
    labels = found.dataset.train.labels()
    for name, part in parts.items():
        stage, rows = found.stages[name], label_fraction(labels, part, 0)
        assert stage.source.labels().tolist() == labels[rows].tolist() and stage.batch == min(128, len(rows))
        assert stage.steps == found.stages["moco"].steps
    assert found.compare == (
        ("moco/test_probe_accuracy", "untrained/test_probe_accuracy"),
        ("moco/test_probe_accuracy", "untrained/test_pixels_probe_accuracy"),
        ("moco/test_probe_accuracy", "without_crop/test_probe_accuracy"),
        ("moco/test_probe_accuracy", "without_drop/test_probe_accuracy"),
    )


def test_without_labels_there_are_the_encoders_alone():
    config = study.get_config("methods=simclr")
    config.transforms.study, config.encoder_training.net.widths = "none", (4,)
    assert list(study.build(config).stages) == ["untrained", "simclr"]


def test_views_lack_what_is_left_out_and_nothing_else(config):
    config.views.bands.update(jitter_p=0.0, grey_p=0.0, blur_p=0.0, flip_p=0.0, drop_p=1.0)
    found = study.build(config)
    rows = found.dataset.train.read(np.arange(6))
    views = {
        name: np.asarray(found.stages[name].augment(jax.random.split(jax.random.key(0), 6), rows)["views"][0])
        for name in ("moco", "without_crop", "without_drop")
    }
    image = rows["image"] / np.float32(255)
    gone = (views["without_crop"] == 0).all((1, 2))
    assert ((gone.sum(1) >= 1) & (gone.sum(1) <= 3)).all()
    kept = ~np.broadcast_to(gone[:, None, None], image.shape)
    np.testing.assert_allclose(views["without_crop"][kept], image[kept], atol=1e-6)
    assert not (views["without_drop"] == 0).all((1, 2)).any() and np.abs(views["without_drop"] - image).max() > 0.2
    # The same draws as before: with the bands of the one left in the other, all that both do is done.
    np.testing.assert_allclose(views["moco"][kept], views["without_drop"][kept], atol=1e-6)


def test_each_transform_is_left_out_or_kept_alone():
    views = views_section("bands")["bands"]
    without, only = (changed_views(views, 6, kind) for kind in ("without", "only"))
    assert list(without) == [f"without_{name}" for name in TRANSFORMS] and list(only) == [f"only_{name}" for name in TRANSFORMS]
    for name in TRANSFORMS:
        assert acting({**views, **without[f"without_{name}"]}, 6) == [other for other in TRANSFORMS if other != name]
        assert acting({**views, **only[f"only_{name}"]}, 6) == [name]
    assert changed_views(views, 6, "none") == {} and list(changed_views(views, 6, "without", ["turn", "blur"])) == ["without_blur"]
    assert study.get_config().transforms.names == tuple(OFF)


def test_what_does_nothing_is_no_transform():
    views = views_section("bands")["bands"]
    assert acting(views, 3) == list(TRANSFORMS) and acting(views, 1) == ["crop", "jitter", "blur", "flip"]
    assert acting({**views, "turn_p": 0.5, "upside_p": 0.5, "flip_p": 0.0}, 1) == ["crop", "jitter", "blur", "upside", "turn"]
    assert set(OFF) == set(acting({**views, "turn_p": 0.5, "upside_p": 0.5}, 12))


def test_grey_images_are_turned_into_bands_and_others_stay(tmp_path, config):
    digits = load("digits")
    found = with_bands(digits, count=6, deviation=0.1)
    assert found.shape == (8, 8, 6) and found.train.read(np.arange(2))["image"].shape == (2, 8, 8, 6)
    assert len({digits.digest, found.digest, with_bands(digits, count=5, deviation=0.1).digest}) == 3
    assert with_bands(digits, count=1, deviation=0.1) is digits and with_bands(found, count=3, deviation=0.1) is found
    images, labels = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 12)).astype(np.uint8), np.arange(200) % 2
    np.savez(tmp_path / "twelve.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    config.data.source = f"npz:{tmp_path / 'twelve.npz'}"
    built = study.build(config)
    assert built.dataset.shape == (8, 8, 12) and len(built.stages["moco"].nets["encoder"]["mean"]) == 12


@pytest.mark.parametrize(
    ("variant", "names", "first"),
    [("", {"moco", "supervised"}, "moco"), ("methods=supervised/simclr/byol", {"supervised", "simclr", "byol"}, "simclr")],
)
def test_the_first_method_named_is_met_on_other_views(variant, names, first):
    config = study.get_config(variant)
    assert set(config.methods) == names and config.transforms.method == first and config.views.kind == "bands"


@pytest.mark.parametrize(
    ("section", "changed", "line"),
    [
        ("transforms", {"study": "with"}, "--config.transforms.study='with' is not accepted: expected without, only, none"),
        (
            "transforms",
            {"names": ("hue",)},
            r"--config.transforms.names=\('hue',\) is not accepted: expected some of crop, jitter,",
        ),
        ("transforms", {"method": "supervised"}, "--config.transforms.method='supervised' is not accepted: expected one of moco"),
        ("bands", {"count": 0}, "--config.bands.count=0 is not accepted"),
        ("bands", {"deviation": -1.0}, "--config.bands.deviation=-1.0 is not accepted"),
        ("views", {"kind": "crop"}, "--config.views.kind='crop' is not accepted: expected 'bands'"),
        ("probe", {"fractions": ()}, r"--config.probe.fractions=\(\) is not accepted"),
        ("probe", {"fractions": (0.001,)}, "--config.probe: fraction=0.001 is not accepted"),
    ],
)
def test_what_does_not_fit_is_refused(config, section, changed, line):
    config[section].update(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        study.build(config)


def test_a_net_that_learns_from_labels_needs_some(config, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "bare.npz", train_images=images)
    config.data.source = f"npz:{tmp_path / 'bare.npz'}"
    with pytest.raises(InputError, match=r"^--config.data.source=.* expected a set with labels of training images"):
        study.build(config)
    with pytest.raises(InputError, match=r"^methods=.* expected one besides supervised"):
        study.build(study.get_config("methods=supervised"))


@pytest.fixture
def scenes(tmp_path):
    """Two digits side by side: images of several classes."""
    arrays = {}
    for part, source in (("train", load("digits").train), ("test", load("digits").test)):
        rows = np.random.default_rng(0).integers(0, source.size, (300, 2))
        found = source.read(rows.ravel())
        arrays[f"{part}_images"] = np.concatenate(list(found["image"].reshape(300, 2, 8, 8).swapaxes(0, 1)), 2)
        arrays[f"{part}_classes"] = np.eye(10, dtype=np.int32)[found["label"].reshape(300, 2)].max(1)
    return tmp_path / "scenes.npz", arrays


def test_images_of_several_classes_are_probed_for_each(scenes):
    file, arrays = scenes
    np.savez(file, **arrays)
    config = study.get_config("methods=moco")
    config.encoder_training.net.widths, config.data.source, config.transforms.names = (4,), f"npz:{file}", ("crop",)
    config.probe.update(draws=1, fractions=(0.2,))
    found = study.build(config)
    assert list(found.stages) == ["untrained", "moco", "without_crop"] and found.dataset.shape == (8, 16, 6)
    told = "images have several classes each: linear probes are scored by average precision, and kNN is left out"
    assert found.dataset.notes[-1] == told and not [note for note in found.dataset.notes if "left out, and only" in note]
    result = "test_probe_20_percent_micro_average_precision"
    assert found.compare == ((f"moco/{result}", f"untrained/{result}"), (f"moco/{result}", f"without_crop/{result}"))

    def collect(split, *taps):
        classes = arrays[f"{split}_classes"]
        return {"encoder": {"pooled": classes[None].astype(float)}}, {"classes": classes, "label": np.full(300, -1)}

    measured = {f"test_{k}": v for k, v in found.stages["without_crop"].evaluate(collect, "test", True).items()}
    assert measured[result] == [100.0] and "test_rank_me" in measured
    labels, transforms = found.tables({"untrained": measured, "moco": measured, "without_crop": measured}, [])
    assert labels.rows["moco"]["20% of the labels, %"] == [100.0] and labels.plot.y == "test micro average precision, %"
    assert labels.title == "Micro average precision by the part of the labels"
    assert list(transforms.rows) == ["all transforms", "untrained", "without crop"]


@pytest.mark.parametrize(
    ("variant", "changed", "line"),
    [
        ("", {}, "methods=.* is not accepted: expected none that is supervised"),
        ("methods=moco", {"test_classes": np.zeros((300, 10), np.int32)}, "--config.data.source=.* expected test_classes"),
        ("methods=moco", {"train_classes": np.full((300, 10), 2, np.int32)}, "--config.data.source=.* expected train_classes"),
        ("methods=moco", {"fractions": (0.001,)}, r"--config.probe.fractions=\(0.001,\) .* two images or more"),
    ],
)
def test_several_classes_that_do_not_fit_are_refused(scenes, variant, changed, line):
    file, arrays = scenes
    config = study.get_config(variant)
    config.probe.fractions = changed.get("fractions", (1.0,))
    np.savez(file, **{**arrays, **{name: x for name, x in changed.items() if name != "fractions"}})
    config.data.source = f"npz:{file}"
    with pytest.raises(InputError, match=f"^{line}"):
        study.build(config)


def probes(few, all_of_them):
    return {"test_probe_1_percent_accuracy": few, "test_probe_100_percent_accuracy": all_of_them}


MEASURED = {
    "untrained": {
        **probes([30.0, 32.0], [80.0, 82.0]),
        "test_pixels_probe_1_percent_accuracy": [25.0, 25.0],
        "test_pixels_probe_100_percent_accuracy": [85.0, 85.0],
    },
    "moco": probes([60.0, 63.0], [90.0, 92.0]),
    "supervised_1_percent": {"test_online_probe_accuracy": [50.0, 51.0], **probes([52.0, 51.0], [1.0, 1.0])},
    "supervised_100_percent": {"test_online_probe_accuracy": [95.0, 94.0], **probes([1.0, 1.0], [95.0, 98.0])},
    "without_crop": probes([40.0, 41.0], [85.0, 85.0]),
}
LEARNT = {"supervised_1_percent": 0.01, "supervised_100_percent": 1.0}


def test_tables_of_labels_and_of_transforms():
    labels, transforms = tables(MEASURED, ["moco"], "moco", ["without_crop", "without_grey"], LEARNT, (1.0, 0.01))
    assert list(labels.rows) == ["raw pixels", "untrained", "moco", "supervised", "supervised, probed"]
    few, most = "1% of the labels, %", "100% of the labels, %"
    assert labels.rows["supervised"] == {most: [95.0, 94.0], few: [50.0, 51.0]} and labels.rows["raw pixels"][few] == [25.0, 25.0]
    assert labels.rows["supervised, probed"] == {most: [95.0, 98.0], few: [52.0, 51.0]}
    assert labels.rows["moco"]["1%: over supervised, probed"].startswith("+10.00 [")
    assert labels.rows["moco"]["100%: over supervised, probed"].startswith("-5.50 [")
    assert labels.rows["moco"]["1%: over untrained"].startswith("+30.50 [")
    assert labels.plot.at == [1.0, 100.0] and labels.plot.lines["moco"] == [[60.0, 63.0], [90.0, 92.0]]
    # A stage that diverged is left out.
    assert list(transforms.rows) == ["all transforms", "untrained", "without crop"]
    assert transforms.rows["without crop"]["1%: all over it"].startswith("+21.00 [")
    assert transforms.rows["without crop"]["100%: all over it"].startswith("+6.00 [")
    assert transforms.plot.points == {"": {"all transforms": (61.5, 91.0), "untrained": (31.0, 81.0), "without crop": (40.5, 85.0)}}


def test_tables_without_the_net_that_learns_from_labels_or_other_views():
    (labels,) = tables(MEASURED, ["moco"], "moco", [], {}, (0.01,))
    assert (
        "supervised" not in labels.rows
        and "supervised" not in labels.note
        and list(labels.rows["moco"]) == ["1% of the labels, %", "1%: over untrained"]
    )
    assert tables({}, ["moco"], "moco", [], {}, (0.01,)) == []
