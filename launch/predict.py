"""Classifies images with a trained network.

    python launch/predict.py runs/quickstart image.png folder/ --top=3
"""

import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from launch import cli  # noqa: E402

USAGE = """python launch/predict.py <run> <image or folder> ... [--stage=<name>] [--seed=<number>] [--top=<k>] [--csv=<file>]

  <run>            a folder that launch/main.py wrote.
  <image>          png, jpg, bmp ...; resized (shorter side, centre cut) and turned grey or RGB as the network wants it.
  --stage=<name>   which network of the run; default the last stage's.
  --seed=<number>  which of its seeds, from 0; default 0.
  --top=<k>        classes shown for each image; default 1.
  --csv=<file>     writes a table instead of printing.
"""
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run", nargs="?")
    parser.add_argument("images", nargs="*")
    parser.add_argument("--stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--top", type=int, default=1)
    parser.add_argument("--csv")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_args()
    if args.help:
        return print(USAGE)
    if not args.run or not args.images:
        raise cli.InputError("a run folder and at least one image are needed; --help tells more")
    if args.top < 1:
        raise cli.InputError(f"--top={args.top} is not accepted: expected at least 1")
    rows = classify(Path(args.run), [Path(p) for p in args.images], args.stage, args.seed, args.top)
    header = ["image", *(f"{what}{i + 1}" for i in range(len(rows[0][1])) for what in ("class", "probability"))]
    flat = [[str(path), *(x for name, p in found for x in (name, f"{p:.4f}"))] for path, found in rows]
    if args.csv:
        from kdjax.train.files import write_text

        lines: list[str] = []
        writer = csv.writer(type("Lines", (), {"write": staticmethod(lines.append)})(), lineterminator="\n")
        writer.writerows([header, *flat])
        write_text(Path(args.csv), "".join(lines))
        return print(f"{len(flat)} images written to {args.csv}")
    for path, found in rows:
        print(f"{path}: " + ", ".join(f"{name} {p:.1%}" for name, p in found))


def classify(run: Path, paths: list[Path], stage: str | None, seed: int, top: int) -> list[tuple[Path, list[tuple[str, float]]]]:
    """The `top` classes of every image with their probabilities."""
    import jax
    import numpy as np

    from kdjax import load
    from kdjax.augment import as_float

    net, params, stats = load(run, stage, member_number=seed)
    about = json.loads((run / "config.json").read_text())["data"]
    files = [f for p in paths for f in _files(p)]
    images = np.stack([_read(f, about["shape"]) for f in files])
    taps, _ = jax.jit(lambda x: net.apply(params, stats, as_float(x), train=False))(images)
    if "logits" not in taps:
        raise cli.InputError(f"{run} holds an encoder without classes: nothing to predict")
    probabilities = np.asarray(jax.nn.softmax(taps["logits"]))
    order = np.argsort(-probabilities, axis=-1)[:, :top]
    return [(f, [(about["names"][k], float(p[k])) for k in best]) for f, p, best in zip(files, probabilities, order, strict=True)]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise cli.InputError(f"{path} is not there: expected an image or a folder of images")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not found:
        raise cli.InputError(f"{path} holds no image: expected files that end in {', '.join(sorted(ENDINGS))}")
    return found


def _read(path: Path, shape: list[int]):
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    try:
        with Image.open(path) as image:
            image = image.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise cli.InputError(f"{path} cannot be read as an image: {type(error).__name__}") from None
    scale = max(height / image.height, width / image.width)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))), Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height))).reshape(height, width, channels)


if __name__ == "__main__":
    cli.run(main)
