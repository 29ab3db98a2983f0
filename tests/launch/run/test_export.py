"""Weights to hand on: their files, their card, and the ways back."""

import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from fabricated import ALONE, STUDENT, write_run
from launching import call
from PIL import Image

from kdjax import models
from kdjax.core import InputError
from launch import predict
from launch.run import export, model_card

SPECIFICATION = {"name": "conv_net", "widths": [4], "classes": 2, "mean": [0.3], "std": [0.4], "dtype": "float32"}
POINTS = ({"learning_rate": 0.5, "val_accuracy": 88.0}, {"learning_rate": 0.1, "val_accuracy": 70.0})


def made(method, *networks, needs=(), points=(), **options):
    """A Stage and its Result, as far as an export looks at them: three members of each network."""
    net = models.build(SPECIFICATION)
    key, image = jax.random.key(len(method)), jnp.zeros((1, 8, 8, 1))
    weights = {}
    for k, name in enumerate(networks):
        singles = [net.init(jax.random.fold_in(key, 10 * k + i), image) for i in range(3)]
        stacked = jax.tree.map(lambda *x: np.stack(x), *singles)
        weights[name] = {"params": stacked[0], "stats": stacked[1]}
    about = {"method": method, "training": {"optimiser": {"name": "sgd", "learning_rate": 0.2}}, **options}
    stage = SimpleNamespace(nets=dict.fromkeys(networks, SPECIFICATION), about=about, batch=64, method=SimpleNamespace(needs=needs))
    return stage, SimpleNamespace(weights=weights, digest="d1" * 32, step=72, points=points)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run's folder with its export, and the Results behind it."""
    both = {"student_alone": made("supervised", "network", points=POINTS), "student": made("kd", "student", needs=("teacher",))}
    results = {"student_alone/test_accuracy": ALONE, "student/test_accuracy": STUDENT, "student/val_accuracy": STUDENT}
    gain = {"result": "student/test_accuracy", "baseline": "student_alone/test_accuracy", "mean": 2.83, "low": 1.4, "high": 4.27}
    records_of = {"summary": {"comparisons": [gain]}, "about": {"weights": {"teacher": "e0" * 32}}}
    run = write_run(tmp_path_factory.mktemp("runs") / "run", results, seeds=(7, 8, 9), **records_of)
    export.export(run, *records(run), {k: r for k, (_, r) in both.items()}, {k: s for k, (s, _) in both.items()})
    return run, {k: r for k, (_, r) in both.items()}


def records(run):
    return [json.loads((run / name).read_text()) for name in ("config.json", "summary.json")]


def card(exported, stage="student"):
    return (exported[0] / "export" / stage / "README.md").read_text()


def test_every_member_is_a_file_with_its_weights(exported):
    run, results = exported
    assert sorted(str(p.relative_to(run / "export")) for p in (run / "export").rglob("*.*")) == [
        f"{stage}/{name}"
        for stage in ("student", "student_alone")
        for name in ("README.md", "seed0.safetensors", "seed1.safetensors", "seed2.safetensors")
    ]
    for i in range(3):
        found = models.read_weights(run / f"export/student/seed{i}.safetensors")
        kernel = results["student"].weights["student"]["params"]["classifier"]["kernel"][i]
        np.testing.assert_array_equal(found.arrays["params/classifier/kernel"], kernel)
        assert any(name.startswith("stats/") for name in found.arrays)
        assert json.loads(found.metadata["kdjax"]) == SPECIFICATION and found.metadata["seed"] == str(7 + i)
        assert json.loads(found.metadata["names"]) == ["cat", "dog"] and json.loads(found.metadata["shape"]) == [8, 8, 1]
        assert json.loads(found.metadata["results"]) == {"test_accuracy": STUDENT[i], "val_accuracy": STUDENT[i]}
        assert found.metadata["data"] == "npz:x.npz" and found.metadata["data_sha256"] == "ab" * 32


def test_the_front_of_the_card_is_what_hugging_face_reads(exported):
    front = yaml.safe_load(card(exported).split("---")[1])
    assert front["library_name"] == "kdjax" and front["pipeline_tag"] == "image-classification" and "license" not in front
    assert {"jax", "knowledge-distillation", "kd"} <= set(front["tags"]) and front["datasets"] == ["x.npz"]
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "accuracy", "name": "test accuracy %", "value": pytest.approx(np.mean(STUDENT), abs=1e-4)}
    ]


def test_the_card_says_what_it_is_how_it_came_about_and_what_is_not_known(exported):
    text = card(exported)
    count = models.parameter_count(models.build(SPECIFICATION), (1, 8, 8, 1))
    for phrase in (
        "3 networks that differ by their seed", "The student imitates the teacher's softened outputs.",
        f"conv_net (widths (4), classes 2), {count:,} parameters", "takes off mean [0.3], divides by std [0.4]",
        "classes, in order: cat, dog",
        "temperature 4, weight 0.9", "sgd, learning_rate 0.2", "72 steps of 64 rows; weights of step 72",
        "- teacher: the stage `teacher` of the same run, sha256 e0e0e0",
        "| seed2.safetensors | 9 | 95.00 | 95.00 |", "| mean ± std |  | 93.83 ± 1.04 |", "+2.83, 95% interval [+1.40, +4.27]",
        "450 test images leave the accuracy uncertain by about 2.22 points", "Not measured: calibration",
        "Hinton, Vinyals and Dean", "arXiv 1503.02531", "commit c0ffee", "results at the last step",
    ):  # fmt: skip
        assert phrase in text, phrase
    assert "/somewhere" not in text
    alone = card(exported, "student_alone")
    assert "Reference" not in alone and "teacher" not in alone.split("## Networks")[1]  # no paper, no teacher behind it
    assert "learning_rate 0.5" in alone and "chosen by val accuracy % among 0.5: 88.00; 0.1: 70.00" in alone


def test_the_code_on_the_card_runs(exported, monkeypatch, capsys):
    (code,) = re.findall("```python\n(.*?)```", card(exported), re.S)
    monkeypatch.chdir(exported[0] / "export/student")
    exec(compile(code, "README.md", "exec"), {})
    assert "'logits': (1, 2)" in capsys.readouterr().out


def test_an_image_is_classified_by_a_file(exported, tmp_path):
    run, results = exported
    file = run / "export/student/seed1.safetensors"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    answer = call(predict, file, tmp_path / "x.png", "--top=2")
    one = jax.tree.map(lambda x: x[1], results["student"].weights["student"])
    images = pixels[None, ..., None].astype(np.float32) / 255
    taps, _ = models.build(SPECIFICATION).apply(one["params"], one["stats"], images, train=False)
    shares = np.asarray(jax.nn.softmax(taps["logits"]))[0]
    told = dict(x.split() for x in answer.out.split(": ")[1].split(", "))
    assert answer.code == 0 and told == {"cat": f"{shares[0]:.1%}", "dog": f"{shares[1]:.1%}"}
    answer = call(predict, file, tmp_path / "x.png", "--seed=0")
    assert answer.code == 2 and "--seed is not accepted" in answer.err and "holds one network" in answer.err


def test_a_file_of_another_origin_classifies_nothing(tmp_path):
    params, stats = models.build(SPECIFICATION).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    models.write_weights(tmp_path / "x.safetensors", params, stats, SPECIFICATION)
    answer = call(predict, tmp_path / "x.safetensors", tmp_path)
    assert answer.code == 2 and answer.err.count("\n") == 1 and "does not name its classes" in answer.err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shape": "[100000, 100000, 1]"}, "an image of 100000x100000 pixels would take 74 GiB of memory"),
        ({"shape": "[8, 8]"}, "does not name its classes and images"),
        ({"shape": "[8, 8, -1]"}, "does not name its classes and images"),
        ({"shape": "[" * 100_000}, "does not name its classes and images"),
        ({"crop": "9"}, "does not name its classes and images"),
        ({"exif_orientation": "1"}, "does not name its classes and images"),
        ({"names": "[1, 2]"}, "does not name its classes and images"),
        ({"names": "{}"}, "does not name its classes and images"),
        ({"names": '["cat"]'}, "names 1 classes, its network has 2"),
    ],
)
def test_a_file_that_asks_for_other_images_or_classes_is_one_line(changed, said, tmp_path, monkeypatch):
    monkeypatch.setattr("kdjax.core.memory.memory_available", lambda: 2**30)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.png")
    params, stats = models.build(SPECIFICATION).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    about = {"names": '["cat", "dog"]', "shape": "[8, 8, 1]", "crop": "0"} | changed
    models.write_weights(tmp_path / "x.safetensors", params, stats, SPECIFICATION, about=about)
    answer = call(predict, tmp_path / "x.safetensors", tmp_path / "x.png")
    assert answer.code == 2 and answer.err.count("\n") == 1 and said in answer.err, answer.err


def test_further_networks_have_their_name_in_the_file(tmp_path):
    run = write_run(tmp_path / "run", {"peers/test_accuracy": ALONE})
    stage, result = made("dml", "first", "second")
    result.weights["generator"] = result.weights["first"]  # none that `models.build` makes
    export.export(run, *records(run), {"peers": result}, {"peers": stage})
    names = sorted(p.name for p in (run / "export/peers").glob("*.safetensors"))
    assert names == [f"seed{i}{end}.safetensors" for i in range(3) for end in ("-second", "")]


def test_an_export_is_whole_or_as_it_was(exported, monkeypatch):
    run, results = exported
    before = {p: p.read_bytes() for p in (run / "export").rglob("*.*")}
    stages = {name: made("kd", *result.weights)[0] for name, result in results.items()}
    with monkeypatch.context() as patch, pytest.raises(InputError):
        patch.setattr(models, "write_weights", lambda path, *_, **__: (_ for _ in ()).throw(InputError("disk full")))
        export.export(run, *records(run), results, stages)
    assert {p: p.read_bytes() for p in (run / "export").rglob("*.*")} == before
    export.export(run, *records(run), results, stages)
    assert sorted(p.name for p in run.iterdir()) == ["config.json", "export", "metrics.jsonl", "summary.json"]


def test_a_file_tells_whether_images_were_turned_and_predict_does_as_it_says(exported, tmp_path):
    stage, result = made("kd", "student")
    about, summary = records(exported[0])
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    tag = Image.Exif()
    tag[274] = 8
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -1))).save(tmp_path / "lying.png", exif=tag)
    shares = {}
    for on in (False, True):
        told = {**about, "data": {**about["data"], "exif_orientation": on}}
        folder = tmp_path / str(on)
        folder.mkdir()
        export.export(folder, told, summary, {"student": result}, {"student": stage})
        file = folder / "export/student/seed0.safetensors"
        assert json.loads(models.read_weights(file).metadata["exif_orientation"]) is on
        text = (folder / "export/student/README.md").read_text()
        assert text.count("images turned as their EXIF orientation says") == 2 * on  # among its data, and in the protocol
        shares[on] = [call(predict, file, tmp_path / f"{x}.png", "--top=2").out.partition(": ")[2] for x in ("upright", "lying")]
    assert shares[False][0] == shares[True][0] == shares[True][1] != shares[False][1]


def test_a_head_is_loaded_on_a_row_of_numbers():
    head = {"name": "mlp_head", "hidden": 4, "out": 1, "input": [20]}
    assert "np.zeros((1, 20), np.float32)" in model_card._loading({"shape": [8, 8, 1], "crop": 0}, head)
