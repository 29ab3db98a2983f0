import subprocess
import sys

DAMAGED = """
import sys
from pathlib import Path
import numpy as np
from kdjax.core import InputError
from kdjax.train import Checkpoints
from kdjax.train.identity import Identity

many = {f"array{i}": np.full(3000, i, np.float32) for i in range(30)}
saved = Checkpoints(Path(sys.argv[1]) / "c", Identity({"settings": {}, "inputs": {}, "programs": {}}))
saved.save(1, many, {})
saved.close()
for path in (Path(sys.argv[1]) / "c/1/state/d").iterdir():
    path.write_bytes(b"xx")
for _ in range(5):
    found = Checkpoints(Path(sys.argv[1]) / "c", Identity({"settings": {}, "inputs": {}, "programs": {}}))
    try:
        found.newest(many, lambda line: None)
    except InputError:
        pass
    found.close()
"""


def test_a_refused_checkpoint_is_followed_by_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", DAMAGED, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == ""


def test_other_errors_are_told():
    from kdjax.train.quiet import _unless_loop_is_closed

    class Found:
        exc_type, exc_value, object = RuntimeError, RuntimeError("Event loop is open"), None

    told = []
    _unless_loop_is_closed(told.append, Found)
    assert told == [Found]
