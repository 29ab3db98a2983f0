"""Looks into a finished run: what students have in common with their teacher, how sharp their minima are, what they withstand.

python launch/analyse.py runs/quickstart --stage=student,student_alone
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdjax.core import InputError, nearest
from kdjax.core.paths import user_path
from launch.run import cli
from launch.run.analysis import PARTS, USUAL, analyse
from launch.run.caches import use_caches

USAGE = """python launch/analyse.py <run> [--what=<a>,<b>] [--images=<n>] [--stage=<a>,<b>] [--seed=<a>,<b>] [--foreign=<a>,<b>]

  <run>            a folder that launch/main.py wrote, finished.
  --what=<a>,<b>   what is computed; default the first four:
    calibration      accuracy, likelihood, expected calibration error, reliability diagram.
    cka              linear CKA between the layers of student and teacher, maps averaged over space.
    correlation      correlations of the logits of every two classes, the student's minus the teacher's; agreement.
    sharpness        largest eigenvalue and trace of the Hessian of the cross-entropy, batch norm in evaluation mode.
    landscape        rise of the loss by random perturbations, along one direction and over two, filters normalised; the loss
                     on the way from the teacher's weights, where the nets are alike.
    ood              how well confidence and ODIN tell foreign images from test images: AUROC, FPR95.
    attack           accuracy under FGSM and PGD of ten steps, by 2 to 32 of 255.
    corruption       accuracy on images with five kinds of damage in five strengths.
  --images=<n>     at most so many images, drawn once for all: of the test set; for sharpness and landscape of the
                   training set, all labels known and nothing augmented. Default 1000.
  --stage=<a>,<b>  the students; default the last stage.
  --seed=<a>,<b>   which of the students' seeds, from 0; default 0. Of several, each is looked into, and then means and deviations,
                   with differences from the first student, paired by seed, and their 95% intervals.
  --foreign=<a>,<b>  data sources that are foreign to the run, such as npz:omniglot.npz, beside noise.

Computes in float32; several teachers are looked at as one, their ensemble. Leaves analysis.json and plots in <run>/analysis/, in
the place of those of an earlier call.
"""


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("runs", nargs="*")
    for name, default in {"what": ",".join(USUAL), "images": "1000", "stage": None, "seed": "0", "foreign": None}.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if len(args.runs) != 1:
        raise InputError("expected the folder of one run; --help tells more")
    what = _words("--what", args.what)
    for name in what:
        if name not in PARTS:
            raise InputError(f"--what={name} is not known; accepted: {nearest(name, PARTS)}")
    stages = None if args.stage is None else _words("--stage", args.stage)
    others = () if args.foreign is None else _words("--foreign", args.foreign)
    if others and "ood" not in what:
        raise InputError(f"--foreign={args.foreign} is not accepted without --what=ood")
    images, seeds = cli.whole("--images", args.images, 2), tuple(cli.whole("--seed", x, 0) for x in _words("--seed", args.seed))
    use_caches()
    analyse(user_path(args.runs[0]), what, stages, images=images, seeds=seeds, others=others)


def _words(name: str, text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise InputError(f"{name}={text!r} is not accepted: expected one or more names with commas between them")
    return found


if __name__ == "__main__":
    cli.run(main)
