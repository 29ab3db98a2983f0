"""A launcher that kills itself: `python killed.py <stage> <step> <words of launch/main.py>`."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
import conftest  # noqa: E402, F401  the settings of all tests

from launch import main  # noqa: E402
from launch.run import cli, progress  # noqa: E402

if __name__ == "__main__":
    stage, step, *words = sys.argv[1:]
    advance = progress.Progress.advance

    def killed(self, at, done, line):
        advance(self, at, done, line)
        if (at, done) == (stage, int(step)):
            time.sleep(1)  # or what was saved last, in the background, may not be there yet
            os.kill(os.getpid(), signal.SIGKILL)

    progress.Progress.advance = killed
    sys.argv = ["launch/main.py", *words]
    cli.run(main.main)
