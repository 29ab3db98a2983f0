"""A run in a process of its own, to be killed: `python child.py <folder> resident|streaming`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
import conftest  # noqa: E402, F401  the settings of all tests
from tiny import linear, run, sgd, stage  # noqa: E402

from kdjax import methods  # noqa: E402
from kdjax.train import Pace, run_stages  # noqa: E402

PACE = Pace(2, 2, 2)
STAGES = {
    "teacher": stage(pace=PACE, steps=36),
    "student": stage(
        methods.kd(linear(), linear(), sgd()),
        pace=PACE,
        steps=36,
        members=2,
        given=lambda results: {"teacher": results["teacher"].frozen()},
    ),
}

if __name__ == "__main__":
    run_stages(STAGES, run(Path(sys.argv[1]), resident=sys.argv[2] == "resident"))
