"""Tries random cases of one kind until the time is over, and says how many held.

    python -m tests.fuzz data --seconds=600 --seed=0
    python -m tests.fuzz data --seed=0 --case=17      # one case again

A target is a module of this folder with `attempt(random, folder) -> (what was tried, complaint)`: one case, drawn from a NumPy
generator, in an empty folder; the complaint is empty where kdjax answered as it promises.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

TARGETS = ("config", "data", "weights", "faults")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random wrong inputs and faults.", allow_abbrev=False)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60, help="begin no case after so many seconds")
    parser.add_argument("--seed", type=int, default=0, help="of all cases")
    parser.add_argument("--case", type=int, help="only the case with this number")
    args = parser.parse_args()
    module = importlib.import_module(f"tests.fuzz.{args.target}")
    end, failed, case = time.monotonic() + args.seconds, [], args.case or 0
    while True:
        tried, complaint = _attempt(module, args.seed, case)
        if complaint:
            failed.append(case)
            print(f"case {case}: {tried}\n  {complaint}", flush=True)
        elif args.case is not None:
            print(f"case {case}: {tried}: held")
        case += 1
        if args.case is not None or time.monotonic() >= end:
            break
    tries = case - (args.case or 0)
    print(
        f"{args.target}, seed {args.seed}: {tries} tried, {tries - len(failed)} held, {len(failed)} failed {failed or ''}".rstrip()
    )
    return 1 if failed else 0


def _attempt(module, seed: int, case: int) -> tuple[str, str]:
    # A run that a fault has ended may still write in the background, as a program that ends with it would not.
    with tempfile.TemporaryDirectory(prefix="kdjax-fuzz-", ignore_cleanup_errors=True) as folder:
        try:
            return module.attempt(np.random.default_rng((seed, case)), Path(folder))
        except Exception:
            return "an exception", traceback.format_exc()


if __name__ == "__main__":
    sys.exit(main())
