"""Names of classes, files and folders, whoever chose them, act neither in the report and the cards nor in a terminal."""

import json
import os
import shutil
import struct

import pytest
from fabricated import write_run
from launching import TINY, call
from PIL import Image

from launch import report
from launch.table import protocol
from launch.table.markdown import escaped

CLASSES = (b"<img src=x onerror=alert(1)>", b"a\x1b[31m\nb", b"caf\xe9", b"![x](http:/|`*")
ACTIVE = ("<img", "\x1b", "![x]", "caf\udce9")


@pytest.fixture(scope="module")
def odd(launch, tmp_path_factory):
    """A run on images whose names are odd: `(folder, answer, path of the images)`."""
    d = tmp_path_factory.mktemp("odd")
    place = d / "secret place" / "photos <b>"
    for number, name in enumerate(n.replace(b"/", b"_") for n in CLASSES):
        above = os.path.join(os.fsencode(place), name)
        os.makedirs(above)
        for i in range(30):
            Image.new("L", (4, 4), 60 * number + i).save(os.fsdecode(os.path.join(above, b"%d\x1b<i>.png" % i)))
        with open(os.path.join(above, b"bad\x1b<i>\xe9.png"), "w") as file:
            file.write("no image")
    words = [word for word in TINY if "epochs" not in word or "training.epochs" not in word]
    words += ["--config.teacher_training.epochs=1", "--config.student_training.epochs=1", "--config.labels_per_class=0"]
    words += ["--config.data.batch=16", "--config.data.corrupt=skip", f"--config.data.source=folder:{place}"]
    return d / "run", launch(f"--workdir={d / 'run'}", *words), place


def test_a_run_on_such_names_ends_well_and_says_nothing_raw(odd):
    folder, answer, _ = odd
    assert answer.code == 0 and not answer.err, answer
    assert "\x1b" not in answer.out and r"bad\x1b<i>\xe9.png" in answer.out
    written = [folder / "report.md", *folder.glob("export/*/README.md")]
    assert len(written) == 4
    for file in written:
        text = file.read_text()
        assert not [sign for sign in ACTIVE if sign in text.replace("![test accuracy", "")], file
    assert "a\\\\x1b\\[31m\\\\nb, caf\\\\xe9" in written[1].read_text()


def test_no_place_leaves_the_machine(odd):
    folder, _, _ = odd
    for file in (folder / "report.md", *folder.glob("export/*/README.md")):
        assert "secret" not in file.read_text() and "photos &lt;b&gt;" in file.read_text(), file
    for file in folder.glob("export/*/*.safetensors"):
        content = file.read_bytes()
        held = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
        assert "secret" not in json.dumps(held) and held["data"] == "folder:photos <b>"


def test_predictions_of_such_names(odd, classify, tmp_path):
    folder, _, place = odd
    image = next(p for p in place.rglob("1\x1b<i>.png"))
    shutil.copy(image, tmp_path / os.fsdecode(b"caf\xe9.png"))
    answer = classify(folder, tmp_path, f"--csv={tmp_path / 'x.csv'}", "--top=4")
    assert answer.code == 0, answer
    assert r"caf\xe9.png" in (tmp_path / "x.csv").read_text()
    shown = classify(folder, image, "--top=4").out
    assert "\x1b" not in shown and r"a\x1b[31m\nb" in shown and shown.count("\n") == 1


@pytest.mark.parametrize("kind", ["npz", "folder", "array_record", "later_kind"])
def test_a_source_is_told_without_its_place(kind):
    assert protocol.place_free(f"{kind}:/home/me/x/") == f"{kind}:x"
    assert protocol.place_free(f"{kind}:x") == f"{kind}:x"


def test_a_name_is_no_place():
    assert protocol.place_free("digits") == "digits"
    assert protocol.place_free("tfds:cifar100/config:1.0.0") == "tfds:cifar100/config:1.0.0"


def test_labels_of_runs_in_a_report(tmp_path):
    for name in ("<b>x", "y|z"):
        write_run(tmp_path / "all" / name)
    text = call(report, tmp_path / "all").out
    assert "| &lt;b&gt;x |" in text and "| y\\|z |" in text and "<b>" not in text


def test_escaped_text_reads_as_it_was():
    assert escaped("kd, temperature 4 (data npz:my_images.npz)") == "kd, temperature 4 (data npz:my_images.npz)"


def test_a_link_to_the_folder_it_lies_in(tmp_path):
    write_run(tmp_path / "all/a")
    (tmp_path / "all/loop").symlink_to(tmp_path / "all")
    (tmp_path / "all/deep").mkdir()
    (tmp_path / "all/deep/up").symlink_to(tmp_path)
    write_run(tmp_path / "else/b", {"student_alone/test_accuracy": [1.0, 2.0, 3.0]})
    (tmp_path / "all/linked").symlink_to(tmp_path / "else")
    answer = call(report, tmp_path / "all", "--csv=" + str(tmp_path / "x.csv"))
    assert answer.code == 0 and not answer.err
    assert {line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]} == {"a", "b"}
