"""Classifies images with a trained network, or writes the features that an encoder has of them.

python launch/predict.py runs/quickstart image.png folder/ --top=3
python launch/predict.py runs/digits_byol folder/ --features=features.npz --neighbours=neighbours.png
"""

import csv
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError
from kdjax.core.files import write_bytes, write_text
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.data import spread_rows
from kdjax.data.classes import some
from kdjax.evaluate import nearest
from launch.run import cli
from launch.run.image_files import Opened, opened, passes, read
from launch.table.images import grid

USAGE = """python launch/predict.py <run> <image or folder> ... [--stage=<name>] [--seed=<number>] [--top=<k>] [--csv=<file>]
                               [--features=<file>] [--neighbours=<file>]

  <run>            a folder that launch/main.py wrote, or a file of its export/: <run>/export/student/seed0.safetensors.
  <image>          png, jpg, bmp ...; resized (shorter side, centre cut) and turned grey or RGB as the network wants it.
                   Turned by its EXIF orientation where the images of the run were.
                   Of a folder all images below it; files that cannot be read are skipped, counted and named.
  --stage=<name>   which network of the run; default the last stage's.
  --seed=<number>  which of its seeds, from 0; default 0.
  --top=<k>        classes shown for each image; default 1.
  --csv=<file>     writes a table instead of printing.

Of an encoder, or of any network with the tap "pooled", instead of classes:
  --features=<file.npz>    writes its features [N, D] and the names of the images, as arrays "features" and "images".
  --neighbours=<file.png>  draws some of the images, and beside each those whose features are nearest to its own, by cosine.
"""
QUERIES = 8  # rows of the picture, and images in each


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run", nargs="?")
    parser.add_argument("images", nargs="*")
    for flag in ("stage", "seed", "top", "csv", "features", "neighbours"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if not args.run or not args.images:
        raise InputError("expected a run's folder and at least one image; --help tells more")
    table_at, run = cli.file_to_write("--csv", args.csv), user_path(args.run)
    if run.is_file() and (args.stage or args.seed is not None):
        raise InputError(f"--{'stage' if args.stage else 'seed'} is not accepted: {args.run} holds one network")
    top, seed = cli.whole("--top", args.top or "1", 1), cli.whole("--seed", "0" if args.seed is None else args.seed, 0)
    features_at, picture_at = (_to_write(args, flag, end) for flag, end in (("features", ".npz"), ("neighbours", ".png")))
    skipped: list[str] = []
    network, paths = opened(run, args.stage, seed), [user_path(p) for p in args.images]
    if features_at or picture_at:
        files, features = features_of(network, paths, skipped)
        _tell_skipped(skipped, len(files))
        if picture_at and len(files) < 2:
            raise InputError("--neighbours is not accepted: expected 2 images or more")
        if features_at:
            _write_features(features_at, files, features)
            count = f"{len(files)} image{'s' * (len(files) > 1)}, {features.shape[1]} numbers each"
            cli.tell(f"features of {count}, written to {args.features}")
        if picture_at:
            neighbours(picture_at, network, files, features)
            cli.tell(f"nearest neighbours drawn in {args.neighbours}")
        return
    found = classify(network, paths, top, skipped)
    _tell_skipped(skipped, len(found))
    if table_at is None:
        for path, classes in found:
            cli.tell(f"{path}: " + ", ".join(f"{name} {p:.1%}" for name, p in classes))
        return
    header = ["image", *(f"{what}{i + 1}" for i in range(len(found[0][1])) for what in ("class", "probability"))]
    table = io.StringIO()
    rows = [[printable(path), *(x for name, p in classes for x in (printable(name), f"{p:.4f}"))] for path, classes in found]
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    write_text(table_at, table.getvalue())
    cli.tell(f"{len(rows)} image{'s' * (len(rows) > 1)} written to {args.csv}")


def classify(network: Opened, paths: list[Path], top: int, skipped: list[str]) -> list[tuple[Path, list[tuple[str, float]]]]:
    """The `top` classes of every image with their probabilities; `skipped` takes the files in folders that cannot be read."""
    run, names, found = network.place, network.images.names, []
    if not 1 <= top <= max(len(names), 1):
        raise InputError(f"--top={top} is not accepted: expected 1 to {len(names)}, the classes of {run}")
    for files, logits in passes(network, paths, "logits", skipped):
        if logits is None:
            advice = "give --features=<file.npz> or --neighbours=<file.png>, or choose another --stage, or another run"
            raise InputError(f"{run} holds an encoder without classes: {advice}")
        if logits.ndim != 2:
            shape = "x".join(map(str, logits.shape[1:]))
            raise InputError(f"{run} holds no classifier of whole images, its logits are {shape}: choose another --stage")
        if (classes := logits.shape[-1]) != len(names):
            raise InputError(f"{run} names {len(names)} classes, its network has {classes}")
        for file, p in zip(files, np.asarray(jax.nn.softmax(logits)), strict=True):
            found.append((file, [(names[k], float(p[k])) for k in np.argsort(-p)[:top]]))
    return found


def features_of(network: Opened, paths: list[Path], skipped: list[str]) -> tuple[list[Path], np.ndarray]:
    """The files of the images and their features, float32 `[N, D]`; `skipped` as in `classify`."""
    files, features = [], []
    for read_now, pooled in passes(network, paths, "pooled", skipped):
        if pooled is None:
            raise InputError(f"{network.place} holds a network without the tap 'pooled', from which features are read")
        files += read_now
        features.append(np.float32(pooled))
    return files, np.concatenate(features)


def neighbours(path: Path, network: Opened, files: list[Path], features: np.ndarray) -> None:
    """Draws images spread over all of them, each at the head of a row of those nearest to it."""
    queries = spread_rows(len(files), QUERIES)
    _, rows = nearest(jnp.asarray(features), jnp.asarray(features[queries]), k=min(QUERIES, len(files)))
    shown = []
    for query, found in zip(queries, np.asarray(rows), strict=True):
        # Where others have the same features, an image need not be the first of its own neighbours.
        shown += [query, *[row for row in found if row != query][: len(queries) - 1]]
    images = np.stack([read(files[row], network.images) for row in shown]) / 255.0
    grid(path, images, "in each row an image, then its nearest by cosine")


def _to_write(args, flag: str, end: str) -> Path | None:
    place = cli.file_to_write(f"--{flag}", getattr(args, flag))
    if place is None:
        return None
    if place.suffix != end:
        raise InputError(f"--{flag}={getattr(args, flag)} is not accepted: expected the name of a file that ends in {end}")
    if beside := next((name for name in ("top", "csv") if getattr(args, name) is not None), ""):
        raise InputError(f"--{beside} is not accepted with --{flag}, for which no classes are named")
    return place


def _write_features(path: Path, files: list[Path], features: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, features=features, images=np.array([printable(file) for file in files]))
    write_bytes(path, content.getvalue())


def _tell_skipped(skipped: list[str], found: int) -> None:
    if skipped:
        files = f"{len(skipped)} of {len(skipped) + found} files"
        cli.tell(f"skipped: {files} in folders are no images that can be read ({some(skipped)})", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
