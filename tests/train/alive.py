"""One of several processes that meet without end, until one is gone: `python alive.py <address> <process> <processes> <what>`."""

import os
import sys
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path[:0] = [str(Path(__file__).parents[2])]

from kdjax.train import liveness  # noqa: E402
from kdjax.train.processes import gathered  # noqa: E402


def told(error):
    print(f"told: {error}", file=sys.stderr)
    return 3


liveness.PATIENCE = 3


def main(address, process, processes, what):
    liveness.initialize(address, int(processes), int(process))
    with liveness.watched(told):
        for count in range(10**6):
            gathered(count)
            if count == 0:
                print("here", file=sys.stderr, flush=True)
            if what == "all fail" and count == 5:
                raise ValueError("no from all")
            if what == "one fails" and process == "1" and count == 5:
                raise ValueError("no from 1")
            time.sleep(60 if what == "apart" and count == 5 else 0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
