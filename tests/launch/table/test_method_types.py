"""What type checkers see of methods."""

import json
import subprocess
import sys

from launch.table.method_types import STUB, stub

USE = """
import kdjax
import optax
from kdjax import losses, methods, models

net = models.conv_net((4,))
methods.kd(net, net, optax.sgd(0.1), temperature=2.0, micro=2)
methods.kd(net, net, optax.sgd(0.1), temprature=2.0)
methods.byol(net, net, net, optax.sgd(0.1), steps=1, decays=0.9)
losses.kd([0.0], [0.0], temprature=2.0)
kdjax.losses.dkd([0.0], [0.0], [0], alfa=1.0)
kdjax.load("runs/kd", weight="best")
"""


def test_the_stub_is_that_of_the_methods_there_are():
    assert STUB.read_text() == stub(), "python -m launch.table.methods writes it"


def test_a_misspelt_option_is_seen_before_anything_runs(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    root = str(STUB.parents[2])
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [root], "reportArgumentType": False}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "use.py"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {x["range"]["start"]["line"]: x["message"] for x in json.loads(answer.stdout)["generalDiagnostics"]}
    named = {7: "temprature", 8: "decays", 9: "temprature", 10: "alfa", 11: "weight"}
    assert found.keys() == named.keys()
    assert all(f'No parameter named "{name}"' in found[line] for line, name in named.items()), found
