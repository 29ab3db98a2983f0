"""Sets that are read ahead, and several processes, through the launcher."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launching import TINY
from made import encoded, example, pixels, write_tfds

from kdjax.core.files import read_lines
from kdjax.models import read_weights
from tests.fast_compile import xla_flags

ROOT = Path(__file__).parents[2]
SHORT = (*TINY, "--config.seeds=1", "--config.labels_per_class=0", "--config.data.batch=32")


def read(folder, name="summary.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of images, all of them on their side, one file of them damaged."""
    root = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(pixels(160, 8, 3)):
        file = root / ("cat", "dog")[i % 2] / f"{i:03}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded(image[:6], orientation=6))
    (root / "dog" / "077.png").write_bytes((root / "dog" / "077.png").read_bytes()[:80])
    (root / "cat" / "notes.txt").write_text("words")
    return root


def test_a_damaged_image_stops_a_run_that_reads_ahead(launch, photos, tmp_path):
    answer = launch(
        f"--workdir={tmp_path / 'run'}", *SHORT, f"--config.data.source=folder:{photos}", "--config.data.reader=streaming"
    )
    line = (
        "dog/077.png: cannot be decoded, the file is damaged or no image; --config.data.corrupt=skip takes the next image instead"
    )
    assert answer.code == 2 and answer.err.endswith(line + "\n") and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("reader", ["resident", "streaming"])
def test_or_it_is_skipped_named_and_counted(launch, photos, tmp_path, reader):
    words = (f"--config.data.source=folder:{photos}", f"--config.data.reader={reader}", "--config.data.corrupt=skip")
    words += ("--config.data.exif_orientation=true",)
    answer = launch(f"--workdir={tmp_path / 'run'}", *SHORT, *words)
    assert (answer.code, answer.err) == (0, "")
    (line,) = read(tmp_path / "run")["damaged"]
    assert "dog/077.png: cannot be decoded" in line and answer.out.count("dog/077.png") == 1
    seen = read(tmp_path / "run", "config.json")["data"]
    assert (seen["shape"], seen["exif_orientation"]) == ([8, 6, 3], True)
    assert "images turned as their EXIF orientation says" in (tmp_path / "run" / "report.md").read_text()
    note = "not read: 1 with another ending than an image's (.txt; the first cat/notes.txt)"
    assert f"data: {note}\n" in answer.out and read(tmp_path / "run", "config.json")["data"]["notes"] == [note]
    assert note in (tmp_path / "run" / "report.md").read_text()


def test_a_tfds_set_read_ahead_trains_as_a_resident_one(launch, tmp_path):
    def split(n, seed):
        images = pixels(n, seed=seed) // 2 + 100 * (np.arange(n, dtype=np.uint8) % 2)[:, None, None, None]
        return [example(encoded(image), i % 2) for i, image in enumerate(images)]

    write_tfds(tmp_path, splits={"train": split(160, 0), "test": split(40, 1), "validation": split(24, 2)})
    words = (*SHORT, "--config.data.source=tfds:tiny", f"--config.data.dir={tmp_path}", "--config.teacher_training.epochs=4")
    summaries, lines = [], []
    for reader, workers in (("resident", 0), ("streaming", 0), ("streaming", 1)):
        folder = tmp_path / f"{reader}{workers}"
        answer = launch(f"--workdir={folder}", *words, f"--config.data.reader={reader}", f"--config.data.workers={workers}")
        assert answer.code == 0 and "data: the 24 validation images are the set's own; --config.data.val_fraction=" in answer.out
        assert read(folder)["protocol"]["validation_images"] == 24 and read(folder)["protocol"]["train_images"] == 160
        summaries.append(read(folder)["results"])
        lines.append(read_lines(folder / "metrics.jsonl"))
        assert read(folder, "config.json")["reader"] == reader
    # Four steps fit into one chunk: the same kind of block.
    assert summaries[0] == summaries[1] == summaries[2] and lines[0] == lines[1] == lines[2]


def test_the_imagenet_config_runs_on_a_few_images(launch, classify, tmp_path):
    for part, n in (("train", 48), ("test", 12)):
        for i, image in enumerate(pixels(n, 24, 3)):
            file = tmp_path / "images" / part / ("cat", "dog", "eel")[i % 3] / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(image, "JPEG"))
    words = (
        f"--config={ROOT / 'configs/imagenet_kd.py'}:teacher=conv_net,student=conv_net", "--config.devices=1",
        f"--config.data.source=folder:{tmp_path / 'images'}", "--config.data.reader=streaming", "--config.data.image_size=20",
        "--config.data.crop=16", "--config.data.batch=16", "--config.teacher_training.net.widths=4,",
        "--config.student_training.net.widths=4,", "--config.teacher_training.epochs=2", "--config.student_training.epochs=2",
    )  # fmt: skip
    answer = launch(f"--workdir={tmp_path / 'run'}", *words)
    assert (answer.code, answer.err) == (0, "")
    assert read(tmp_path / "run", "config.json")["data"]["crop"] == 16
    photo = tmp_path / "images/test/cat/0.jpg"
    weights = tmp_path / "run/export/student/seed0.safetensors"
    assert json.loads(read_weights(weights).metadata["crop"]) == 16
    assert "np.zeros((1, 16, 16, 3), np.float32)" in (weights.parent / "README.md").read_text()
    by_run, by_file = (classify(place, photo) for place in (tmp_path / "run", weights))
    assert by_run.code == 0 and by_run == by_file and by_run.out.startswith(f"{photo}: ")


def start(processes, folder, *words, own=lambda process: ()):
    """Runs the launcher in several processes and gives their exit codes and lines of error."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = f"--coordinator=localhost:{free.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": xla_flags(1), "KDJAX_CACHE": str(folder / "cache")}
    commands = [
        ["launch/main.py", where, f"--processes={processes}", f"--process={i}", f"--workdir={folder / 'run'}", *words, *own(i)]
        for i in range(processes)
    ]
    running = [
        subprocess.Popen([sys.executable, *c], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    told = [process.communicate(timeout=300) for process in running]
    errors = [[x for x in err.splitlines() if x.startswith("error: ")] for _, err in told]
    return [process.returncode for process in running], errors, [out for out, _ in told]


def test_two_processes_are_one_run(run, tmp_path):
    codes, errors, said = start(2, tmp_path, *(w for w in TINY if "devices" not in w))
    assert codes == [0, 0] and errors == [[], []]
    assert "student - student_alone" in said[0] and "student" not in said[1]
    alone, both = (read(folder)["results"] for folder in (run[0], tmp_path / "run"))
    assert alone.keys() == both.keys()
    for name, found in both.items():
        np.testing.assert_allclose(found["values"], alone[name]["values"], rtol=1e-4, atol=1e-3)
    assert read(tmp_path / "run", "config.json")["devices"] == {"parallel": "jit", "mesh": {"data": 2, "model": 1}, "processes": 2}


def test_processes_that_disagree_are_refused_by_all(tmp_path):
    codes, errors, _ = start(2, tmp_path, own=lambda process: (f"--config.seeds={process + 2}",))
    differ = "process 0 was started with config.seeds=2, process 1 has 3"
    line = f"error: {differ}: expected the same command, files and versions everywhere"
    assert codes == [2, 2] and errors == [[line], [line]]
    assert not (tmp_path / "run").exists()
