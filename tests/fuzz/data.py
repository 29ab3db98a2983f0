"""Random data sets, sound and wrong, of every kind that lies on disk, through `kdjax.data.load`.

The right answer is a dataset that keeps its promises, or an `InputError` of one line; soon, and within the memory there is.
"""

import io
import json
import os
import resource
import signal
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from kdjax.core import InputError
from kdjax.data import load, read_undamaged
from kdjax.data.array_record import FORMAT, Contents, sha256
from tests.made import IMAGE, LABEL, example, pixels, write_shard, write_tfds

SECONDS = 60  # that one case may take
MEMORY = 4 << 30  # bytes that a case may take beside what the process has
ODD = (None, True, -1, 0, 1, 7, 2**31, 2**63, 1.5, float("nan"), "", "x", "\x1b[31m", "../a", "a\0", [], {}, [[]], ["1"], {"x": 1})
NAMES = ("a", "b", "ä", "with space", "-rf", "new\nline", "\x1b[31mred", "x" * 200, os.fsdecode(b"\xff\xfe"), "<img onerror=1>")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")


def attempt(random: np.random.Generator, folder: Path) -> tuple[str, str]:
    """One set, made well and then spoiled in up to three ways, and read with options of all kinds."""
    kind = _pick(random, _KINDS)
    _limit_memory()
    signal.signal(signal.SIGALRM, _too_long)
    source, spoilt = _KINDS[kind](random, folder)
    spoilt += [_spoil_file(random, folder) for _ in range(_pick(random, (0, 0, 0, 0, 1, 2)))]
    options = {
        "reader": _pick(random, ("auto", "resident", "streaming")),
        "corrupt": _pick(random, ("stop", "skip")),
        "val_fraction": float(_pick(random, (0.0, 0.0, 0.3))),
        "image_size": _pick(random, (None, None, None, 5, 5, 5, 5, 100_000)),
        "seed": int(random.integers(3)),
    }
    tried = f"{kind}, {'; '.join(filter(None, spoilt)) or 'as it should be'}; {options}"
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is odd in an image that it reads
            return tried, _judge(source, folder, options)
    except InputError as error:
        line = str(error)
        return tried, f"a refusal of more than a line: {line!r}" if len(line.splitlines()) != 1 or len(line) > 2000 else ""
    finally:
        signal.alarm(0)


def _judge(source: str, folder: Path, options: dict) -> str:
    """What is wrong with a dataset; empty where nothing is."""
    data = load(source, directory=str(folder / "tfds"), **options)
    if len(data.digest) != 64 or len(data.shape) != 3 or min(data.shape) < 1 or data.classes != len(data.names):
        return f"no sound dataset: {data}"
    if any("\n" in note for note in data.notes):
        return f"a note of more than a line: {data.notes}"
    for name in ("train", "val", "test"):
        part = getattr(data, name)
        if part is None:
            continue
        rows = np.arange(part.size)
        batch, _ = read_undamaged(part, rows, skip=options["corrupt"] == "skip")
        if part.size < 1 or batch["image"].shape != (part.size, *data.shape) or batch["image"].dtype != np.uint8:
            return f"{name}: images {batch['image'].shape} {batch['image'].dtype} of {part.size}, {data.shape}"
        if not all(batch[key].shape == (part.size,) and batch[key].dtype == np.int32 for key in ("label", "index")):
            return f"{name}: labels or index of another form"
        if batch["label"].min() < -1 or batch["label"].max() >= data.classes:
            return f"{name}: labels outside the classes"
        if (np.array_equal(batch["index"], rows) or data.resident) and not np.array_equal(batch["label"], part.labels()):
            return f"{name}: labels() tells other labels than read()"
    return ""


def _npz(random, folder):
    size, channels = int(random.integers(1, 9)), int(_pick(random, (1, 3)))
    arrays = {}
    for part, n in (("train", 12), ("test", 4), ("val", 3))[: _pick(random, (2, 2, 3))]:
        images = pixels(n, size, channels, int(random.integers(9)))
        arrays[f"{part}_images"] = images[..., 0] if channels == 1 and random.random() < 0.5 else images
        arrays[f"{part}_labels"] = np.arange(n) % 3
    spoilt = []
    for _ in range(_pick(random, (0, 0, 1, 2))):
        if arrays:
            spoilt.append(_spoil_array(random, arrays))
    file = folder / "set.npz"
    _pick(random, (np.savez, np.savez_compressed))(file, **arrays)
    if random.random() < 0.2:
        spoilt.append(_forge(random, file))
    return f"npz:{file}", spoilt


def _spoil_array(random, arrays):
    key = _pick(random, list(arrays))
    value = arrays[key]
    types = ("float32", "int64", "bool", "object", "U3", "complex64", "M8[s]", "i1,f4", "uint64")
    forms = (lambda x: x[:0], lambda x: x[..., None], lambda x: x.reshape(-1), np.transpose, lambda x: x[:-1], lambda x: x[0])
    labels = (-1, -5, 255, 2**30, 2**40, 2**62)
    forms = forms if value.ndim and value.size else (np.transpose,)
    what = _pick(random, ("drop", "type", "form", "rename", "extra", *["labels"] * key.endswith("labels")))
    if what == "drop":
        del arrays[key]
    elif what == "type":
        arrays[key] = np.zeros(value.shape, _pick(random, types))
    elif what == "form":
        arrays[key] = _pick(random, forms)(value)
    elif what == "rename":
        arrays[key.upper()] = arrays.pop(key)
    elif what == "extra":
        arrays[_pick(random, ("val_labels", "val_images", "train_masks"))] = value
    elif value.size and value.dtype.kind == "i":
        arrays[key] = value.copy()
        arrays[key].reshape(-1)[-1] = _pick(random, labels)
    return f"{what} {key}"


def _forge(random, file):
    """A member whose header is not what follows it."""
    key = f"{_pick(random, ('train', 'test', 'val'))}_{_pick(random, ('images', 'labels'))}"
    header = io.BytesIO()
    shape = tuple(int(_pick(random, (0, 1, 12, -1, 2**40, 2**62))) for _ in range(random.integers(5)))
    about = {"descr": _pick(random, ("|u1", "<i8", "|O", "<f4")), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    text = header.getvalue()
    if random.random() < 0.3:
        text = text[:10] + bytes(_pick(random, (b"(", b"[", b"{", b"-", b"\xff", b"#")) * (len(text) - 11)) + b"\n"
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # of a second member of the same name
        archive.writestr(f"{key}.npy", text + bytes(int(_pick(random, (0, 99, 1000)))))
    return f"forge {key} {shape} {about['descr']}"


def _folder(random, folder):
    root, said = folder / "photos", []
    parts = _pick(random, ((), (), ("train",), ("train", "test"), ("train", "val"), ("train", "val", "test"), ("test",)))
    names = list(random.choice(NAMES, 2, replace=False)) if random.random() < 0.9 else []
    odd = random.random() < 0.4
    for part in parts or ("",):
        for name in names or ("",):
            for i in range(int(random.integers(2, 7))):
                place = root / part / name / _pick(random, ("", "", "", "more", "more/deep"))
                place.mkdir(parents=True, exist_ok=True)
                ending = _pick(
                    random, (".png", ".png", ".PNG", ".jpg", ".jfif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".txt", "")
                )
                (place / f"{i}{ending}").write_bytes(_image(random, said, odd))
    for _ in range(random.integers(3)):
        places = [root, *(p for p in root.rglob("*") if p.is_dir() and not p.is_symlink())]
        place = _pick(random, places) / _pick(random, ("x.png", ".hidden", "y", "z.jpg", "Thumbs.db"))
        if not os.path.lexists(place):
            said.append(f"{_odd_entry(random, place)} {place.relative_to(folder)!s}")
    return f"folder:{root}", said


def _image(random, said, odd):
    """The bytes of an image; in a set of odd ones, of many modes, sizes and kinds, and some are damaged."""
    if not odd:
        Image.fromarray(pixels(1, 6, seed=int(random.integers(99)))[0, ..., 0]).save(file := io.BytesIO(), "PNG")
        return file.getvalue()
    mode = _pick(random, MODES) if random.random() < 0.15 else "L"
    size = (6, 6) if random.random() < 0.95 else (4, 9)
    kind = _pick(random, ("PNG", "PNG", "TIFF", "PPM", "JPEG", "GIF", "BMP", "WEBP", "TGA")) if random.random() < 0.2 else "PNG"
    file = io.BytesIO()
    try:
        Image.new(mode, size).save(file, kind)
    except (OSError, ValueError, KeyError):
        Image.new("L", size).save(file := io.BytesIO(), "PNG")
    data = file.getvalue()
    if random.random() < 0.04:
        said.append("an image of many pixels")
        head = struct.pack(">IIBBBBB", int(_pick(random, (0, 10_000, 12_000, 100_000, 2**31 - 1))), 12_000, 8, 0, 0, 0, 0)
        data = data[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:]
    if random.random() < 0.04:
        said.append("a cut image")
        data = data[: int(random.integers(len(data)))]
    return data


def _tfds(random, folder):
    odd, said = random.random() < 0.4, []

    def records(n):
        return [
            example(_image(random, said, odd), int(_pick(random, (2, -1, -7, 2**40)) if odd and random.random() < 0.05 else i % 2))
            for i in range(n)
        ]

    splits = _pick(random, (("train", "test"), ("train", "validation"), ("train", "test", "validation"), ("train",), ("test",)))
    changed = {}
    if random.random() < 0.2:
        sides = [str(_pick(random, (6, -1, 0, 2**31 - 1, "x"))) for _ in range(_pick(random, (3, 3, 2, 4)))]
        changed["image"] = {
            "pythonClassName": IMAGE,
            "image": {"dtype": _pick(random, ("uint8", "uint16", "x")), "shape": {"dimensions": sides}},
        }
    if random.random() < 0.1:
        classes = {"numClasses": str(_pick(random, (0, -1, 13, 2**30, "x")))}
        changed["label"] = {"pythonClassName": LABEL, "classLabel": classes}
    place = write_tfds(
        folder / "tfds", splits={s: records(int(random.integers(1, 13))) for s in splits}, shape=(6, 6, 1), changed=changed
    )
    said += [f"splits {splits}", *map(str, changed.values())]
    if "label" in changed:
        (place / "label.labels.txt").unlink()
    if random.random() < 0.3:
        said.append(_spoil_json(random, place / _pick(random, ("features.json", "dataset_info.json"))))
    return "tfds:tiny", said


def _packed(random, folder):
    root = folder / "packed"
    root.mkdir()
    encoding, odd, splits = _pick(random, ("raw", "png")), random.random() < 0.3, {}
    for name, n in (("train", 7), ("test", 3), ("val", 2))[: _pick(random, (2, 3))]:
        images = [(x.tobytes() if encoding == "raw" else _image(random, [], odd)) for x in pixels(n, 6)]
        labels = np.arange(n, dtype=np.int32) % 3
        if random.random() < 0.1:
            labels = np.array([_pick(random, (-2, 9, 2**31 - 1)), *labels[1:]], _pick(random, ("int32", "int64", "O")))
        np.save(root / f"{name}.npy", labels)
        write_shard(root / f"{name}.record", images)
        files = [
            {"file": f.name, "rows": n, "bytes": f.stat().st_size, "sha256": sha256(f)} for f in sorted(root.glob(f"{name}.*"))
        ]
        splits[name] = {"rows": n, "labels": files[0], "shards": files[1:]}
    contents = Contents(FORMAT, ["a", "b", "c"], [6, 6, 1], encoding, splits, {"source": "x"}, [])
    (root / "dataset.json").write_text(json.dumps(contents._asdict()))
    said = [_spoil_json(random, root / "dataset.json") for _ in range(_pick(random, (0, 0, 1, 2)))]
    return f"array_record:{root}", said


_KINDS = {"npz": _npz, "folder": _folder, "tfds": _tfds, "array_record": _packed}


def _spoil_json(random, file):
    """Puts another value into one place, or takes it away."""
    try:
        tree = json.loads(file.read_text())
    except ValueError:
        return ""
    places, todo = [], [tree]
    while todo:
        node = todo.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                todo.append(node[key])
    node, key = places[random.integers(len(places))]
    if random.random() < 0.2:
        del node[key]
        said = f"without {key}"
    else:
        node[key] = ODD[random.integers(len(ODD))]
        said = f"{key} is {node[key]!r}"
    file.write_text(json.dumps(tree))
    return f"{file.name}: {said}"


def _spoil_file(random, folder):
    """Damages one of the files."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    if not files:
        return ""
    file = _pick(random, files)
    data, how = bytearray(file.read_bytes()), _pick(random, ("flip", "cut", "longer", "empty", "gone", "words", "odd"))
    if how == "flip" and data:
        data[random.integers(len(data))] ^= 1 << random.integers(8)
    elif how == "cut":
        data = data[: int(random.integers(len(data) + 1))]
    elif how == "longer":
        data += bytes(random.integers(0, 256, 40).tolist())
    elif how == "empty":
        data = bytearray()
    elif how == "words":
        data = bytearray(b"words " * 20)
    if how in ("gone", "odd"):
        file.unlink()
        how += f" {_odd_entry(random, file)}" if how == "odd" else ""
    else:
        file.write_bytes(data)
    return f"{how} {file.relative_to(folder)!s}"


def _odd_entry(random, place):
    """Something that is no plain file."""
    what = _pick(random, ("pipe", "folder", "link to itself", "link to nothing", "link above", "link to a device"))
    if what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        targets = {"link to itself": place.name, "link to nothing": "nothing", "link above": "..", "link to a device": "/dev/zero"}
        place.symlink_to(targets[what])
    return what


def _pick(random, choices):
    choices = list(choices)
    return choices[random.integers(len(choices))]


def _too_long(*_):
    raise TimeoutError(f"it takes more than {SECONDS} seconds")


def _limit_memory():
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))
