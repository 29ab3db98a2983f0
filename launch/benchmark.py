"""Measures parts of kdjax on this machine.

python launch/benchmark.py readers --source=folder:photos --image-size=224
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdjax.core.check import InputError, pick
from launch.bench import augment, cache, readers, steps
from launch.run import cli

COMMANDS = {"readers": readers.main, "cache": cache.main, "augment": augment.main, "steps": steps.main}
USAGE = """python launch/benchmark.py <what> ... [--json]

  readers  images a second of each way to read a data set.
  cache    what it saves to compute the teacher's outputs once.
  augment  images a second of each augmentation and X launch/benchmark.py <what> --help tells more.
"""


def main() -> None:
    words = sys.argv[1:]
    if not words:
        raise InputError(f"expected what to measure: {', '.join(COMMANDS)}; --help tells more")
    if words[0] in ("--help", "-h"):
        return print(USAGE)
    pick("benchmark", words[0], COMMANDS)(words[1:])


if __name__ == "__main__":
    cli.run(main)
