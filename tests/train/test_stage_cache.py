import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import accuracy, after, assert_same, linear, run, sgd, stage, untrainable

from kdjax import methods
from kdjax.core import InputError, Net
from kdjax.train import Stopped, run_stages, stage_cache, sweep
from kdjax.train.checkpoint import read_model


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def student(**changed):
    method = methods.kd(linear(), linear(), sgd())
    return stage(method, members=2, given=lambda results: {"teacher": results["teacher"].frozen()}, **changed)


def both(**changed):
    return {"teacher": stage(**changed), "student": student()}


def text(folder):
    return (folder / "metrics.jsonl").read_text()


def damage(folder):
    """Changes one number of the manifest."""
    path = folder / "0" / "manifest" / "metadata"
    before = path.read_text()
    path.write_text(before.replace('"step": 12', '"step": 13'))
    assert path.read_text() != before


def same(a, b):
    for name in a:
        assert_same(a[name].weights, b[name].weights)
        assert a[name].measures == b[name].measures and a[name].digest == b[name].digest and a[name].step == b[name].step


def test_a_finished_run_is_read_back(tmp_path):
    first, before = run_stages(both(), run(tmp_path)), text(tmp_path)
    seen = []
    one = run(tmp_path, progress=lambda name, step, line: seen.append((name, step)))
    again = run_stages({name: untrainable(s) for name, s in both().items()}, one)
    same(again, first)
    assert text(tmp_path) == before and seen == [("teacher", 12), ("student", 12)]


def test_runs_share_finished_stages(tmp_path, cache):
    said = []
    first = run_stages(both(), run(tmp_path / "a", cache=cache))
    assert len(list(cache.iterdir())) == 2
    again = run_stages({name: untrainable(s) for name, s in both().items()}, run(tmp_path / "b", said, cache=cache))
    same(again, first)
    assert text(tmp_path / "a") == text(tmp_path / "b")
    assert said == [f"{name}: taken from the cache of finished stages" for name in ("teacher", "student")]
    same(run_stages({name: untrainable(s) for name, s in both().items()}, run(tmp_path / "b")), first)  # now its own


def test_what_changes_a_result_changes_its_place_in_the_cache(tmp_path, cache):
    run_stages({"teacher": stage()}, run(tmp_path / "a", cache=cache))

    def place(number, one, **options):
        known = set(cache.iterdir())
        run_stages({"teacher": one}, run(tmp_path / str(number), cache=cache, **options))
        (new,) = set(cache.iterdir()) - known
        return new

    places = [
        place(0, stage(methods.supervised(linear(), sgd(0.2)))),
        place(1, stage(steps=6)),
        place(3, stage(), seed=9),
        place(4, stage(), digest="other data"),
        place(6, stage(nets={"network": {"name": "other"}})),
    ]
    assert len(set(places)) == len(places)


def test_another_teacher_is_another_student(tmp_path, cache):
    run_stages(both(), run(tmp_path / "a", cache=cache))
    run_stages(both(steps=10), run(tmp_path / "b", cache=cache))
    assert len(list(cache.iterdir())) == 4
    adopting = {"teacher": stage(), "student": student(warm_start=lambda state, result, member: state, warm_start_from="teacher")}
    run_stages(adopting, run(tmp_path / "c", cache=cache))
    assert len(list(cache.iterdir())) == 5


def test_a_stage_that_starts_from_two_others_is_another_one_with_each_of_them(tmp_path, cache):
    last = stage(methods.supervised(linear(), sgd(0.3)), warm_start=lambda state, results, member: state)
    for steps, kept in ((4, 3), (6, 5)):
        others = {"teacher": stage(steps=8), "other": stage(steps=steps)}
        run_stages(others | {"last": last._replace(warm_start_from=("teacher", "other"))}, run(tmp_path / str(steps), cache=cache))
        assert len(list(cache.iterdir())) == kept


def test_a_damaged_cache_entry_is_refused_trained_anew_and_replaced(tmp_path, cache):
    first = run_stages({"teacher": stage()}, run(tmp_path / "a", cache=cache))
    (kept,) = cache.iterdir()
    damage(kept)
    said = []
    again = run_stages({"teacher": stage()}, run(tmp_path / "b", said, cache=cache))
    same(again, first)
    assert len(said) == 1 and said[0].startswith(f"cached checkpoint {kept.name}/0 is refused")
    same(run_stages({"teacher": untrainable(stage())}, run(tmp_path / "c", cache=cache)), first)


def hidden(width):
    """A Net of two layers."""

    def init(key, x):
        return {"first": jax.random.normal(key, (16, width)), "last": jnp.ones((width, 3)) / width}, {}

    def apply(params, stats, x, *, train, key=None):
        return {"logits": jnp.tanh(x.reshape(-1, 16) @ params["first"]) @ params["last"]}, stats

    return Net(init, apply)


def test_another_network_is_never_taken(tmp_path, cache):
    """Two nets that nothing tells apart but what is traced: neither meets the other, in the cache or in a run's folder."""
    wide, narrow = (stage(methods.supervised(hidden(width), sgd()), steps=4) for width in (16, 4))
    first, said = run_stages({"only": wide}, run(tmp_path / "a", cache=cache)), []
    other = run_stages({"only": narrow}, run(tmp_path / "b", said, cache=cache))
    widths = [x["only"].weights["network"]["params"]["first"].shape[-1] for x in (first, other)]
    assert widths == [16, 4] and said == [] and len(list(cache.iterdir())) == 2
    same(run_stages({"only": untrainable(narrow)}, run(tmp_path / "b", cache=cache)), other)
    with pytest.raises(
        InputError, match=r"no checkpoint in .*only can be used \(step 4: it was written with another program traced"
    ):
        run_stages({"only": narrow}, run(tmp_path / "a", said))
    assert said[0].endswith(
        "with another program traced from its initialisation and its step and its prediction, which nothing else explains"
    )
    same(run_stages({"only": untrainable(wide)}, run(tmp_path / "a")), first)


def test_a_network_with_more_or_other_arrays_is_not_taken(tmp_path):
    shape = jax.ShapeDtypeStruct((2,), np.float32)
    for found in ({"a": np.zeros((1, 2), np.float16)}, {"a": np.zeros((1, 2), np.float32), "b": np.zeros(1)}, {"b": np.zeros(1)}):
        with pytest.raises(InputError, match="holds other networks"):
            stage_cache._like({"a": shape}, found, tmp_path)


def test_a_damaged_finished_stage_is_made_again_from_its_checkpoint(tmp_path):
    first, said = run_stages({"teacher": stage()}, run(tmp_path)), []
    damage(tmp_path / "models" / "teacher")
    again = run_stages({"teacher": untrainable(stage())}, run(tmp_path, said))
    same(again, first)
    assert "checkpoint teacher/0 is refused" in said[0] and "resumed at step 12 of 12" in said[1]
    same(run_stages({"teacher": untrainable(stage())}, run(tmp_path, said)), first)
    assert len(said) == 2


def three():
    return both() | {"after": stage(methods.supervised(linear(), sgd(0.3)))}


def test_the_lines_of_later_stages_outlive_a_stage_that_is_made_again(tmp_path):
    first, before = run_stages(three(), run(tmp_path)), text(tmp_path)
    damage(tmp_path / "models" / "student")
    again = run_stages({name: untrainable(s) for name, s in three().items()}, run(tmp_path))
    same(again, first)
    assert text(tmp_path) == before and before.count("after") == 6


@pytest.mark.parametrize("left", [lambda whole: whole[:-9], lambda whole: whole[:100], lambda whole: "null\n", None])
def test_torn_and_lost_lines_come_back_from_the_finished_stages(tmp_path, left):
    run_stages(three(), run(tmp_path))
    before, path = text(tmp_path), tmp_path / "metrics.jsonl"
    path.write_text(left(before)) if left else path.unlink()
    run_stages({name: untrainable(s) for name, s in three().items()}, run(tmp_path))
    assert text(tmp_path) == before


@pytest.mark.parametrize("there", ["cache", "models"])
def test_a_plain_file_in_the_place_of_a_finished_stage_is_replaced(tmp_path, cache, there):
    first, said = run_stages({"teacher": stage()}, run(tmp_path / "a", cache=cache)), []
    place = next(cache.iterdir()) if there == "cache" else tmp_path / "a/models/teacher"
    shutil.rmtree(place)
    place.write_text("x")
    again = run_stages({"teacher": stage()}, run(tmp_path / ("b" if there == "cache" else "a"), said, cache=cache))
    same(again, first)
    assert place.is_dir() and "is a file: expected a folder" in said[0]


def test_what_killed_runs_left_is_removed(tmp_path, cache):
    one = run(tmp_path / "a", cache=cache)
    (one.folder / "models").mkdir()
    left = [cache / ".entry.0123.partial", one.folder / ".metrics.jsonl.0123.partial", one.folder / "models/.student.partial"]
    for path in left:
        path.mkdir()
    run_stages({"teacher": stage()}, one)
    assert not any(path.exists() for path in left)


def test_a_finished_stage_of_another_configuration_is_refused_and_kept(tmp_path):
    first = run_stages({"teacher": stage()}, run(tmp_path))
    with pytest.raises(InputError, match=r"no checkpoint in .*teacher can be used"):
        run_stages({"teacher": stage(methods.supervised(linear(), sgd(0.2)))}, run(tmp_path, said := []))
    assert all("another program traced from its step" in line for line in said) and len(said) == 3
    same(run_stages({"teacher": untrainable(stage())}, run(tmp_path)), first)


def test_a_cache_that_cannot_be_written_does_not_end_a_run(tmp_path):
    said = []
    results = run_stages({"teacher": stage()}, run(tmp_path / "a", said, cache=tmp_path / "missing"))
    assert results["teacher"].step == 12 and "cache of finished stages cannot be written" in said[0]


def test_a_kill_while_networks_are_written_leaves_nothing_half(tmp_path, monkeypatch):
    """What a kill leaves: a `.partial` folder, and no finished stage."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(
            stage_cache.Checkpoints, "close", lambda self: kill() if "partial" in str(self._folder) else self._manager.close()
        )
        with pytest.raises(Killed):
            run_stages({"teacher": stage()}, run(tmp_path))
    assert [p.name for p in (tmp_path / "models").iterdir()] == [".teacher.partial"]
    run_stages({"teacher": untrainable(stage())}, run(tmp_path))
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["teacher"]


def test_a_stage_taken_from_the_cache_cuts_the_lines_of_an_earlier_try(tmp_path, cache):
    run_stages({"teacher": stage()}, run(tmp_path / "a", cache=cache))
    with pytest.raises(Stopped):
        run_stages({"teacher": stage()}, run(tmp_path / "b", stop=after(3)))
    run_stages({"teacher": untrainable(stage())}, run(tmp_path / "b", cache=cache))
    assert text(tmp_path / "a") == text(tmp_path / "b")
    lines = [json.loads(x)["step"] for x in text(tmp_path / "b").splitlines()]
    assert lines == [2, 4, 6, 8, 10, 12]


def halved(collect, split, final):
    """Another measure."""
    return {"half": accuracy(collect, split, final)["accuracy"] / 2}


@pytest.mark.parametrize("there", ["models", "cache"])
def test_other_measures_measure_again_without_training(tmp_path, cache, there):
    first, said = run_stages(both(), run(tmp_path / "a", cache=cache)), []
    stages = {name: untrainable(one._replace(evaluate=halved)) for name, one in both().items()}
    folder = tmp_path / ("a" if there == "models" else "b")
    again = run_stages(stages, run(folder, said, cache=cache if there == "cache" else None))
    for name, result in again.items():
        assert_same(result.weights, first[name].weights)
        assert result.digest == first[name].digest
        assert result.measures == {
            f"{split}_half": [x / 2 for x in first[name].measures[f"{split}_accuracy"]] for split in ("test", "val")
        }
    told = [line for line in said if "measured again" in line]
    assert len(told) == 2 and len(said) == (2 if there == "models" else 4)
    same(run_stages(stages, run(folder, said)), again)
    if there == "cache":  # both are there now, and each is found by its own
        same(run_stages(stages, run(tmp_path / "c", said, cache=cache)), again)
        same(run_stages({name: untrainable(s) for name, s in both().items()}, run(tmp_path / "d", said, cache=cache)), first)
    assert len([line for line in said if "measured again" in line]) == 2


def test_a_choice_by_other_measures_is_made_again_from_the_checkpoint(tmp_path, cache):
    def point(evaluate):
        method, hyper = sweep(lambda rate: methods.supervised(linear(), sgd(rate)), {"rate": [0.0, 0.1]})
        return {"only": stage(method, members=2, hyper=hyper, choose=True, evaluate=evaluate)}

    def worst(collect, split, final):
        return {"accuracy": -accuracy(collect, split, final)["accuracy"]}

    first, said = run_stages(point(accuracy), run(tmp_path, cache=cache)), []
    stages = {"only": untrainable(point(worst)["only"])}
    again = run_stages(stages, run(tmp_path, said))
    assert (first["only"].points[0]["rate"], again["only"].points[0]["rate"]) == (pytest.approx(0.1), 0.0)
    assert "its measures are others than those by which it chose among the points of a sweep" in said[0]
    assert run_stages(point(worst), run(tmp_path / "b", said, cache=cache))["only"].points[0]["rate"] == 0.0
    assert not any("taken from the cache" in line for line in said)


AGAIN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import kdjax
from test_stage_cache import both
from tiny import after, run
from kdjax.train import Stopped, run_stages
assert kdjax.__file__.startswith(sys.argv[2])
try:
    run_stages(both(), run(Path(sys.argv[1]), said := [], stop=after(9) if sys.argv[4:] else lambda: False))
except Stopped:
    pass
print("\\n".join(said))
"""


def test_code_that_a_stage_does_not_trace_may_change_between_its_parts(tmp_path):
    """A docstring, a comment in a function that is traced, a new method's file: the rest of a run is as if nothing had been."""
    own, tree = Path(__file__), tmp_path / "tree"
    shutil.copytree(own.parents[2] / "kdjax", tree / "kdjax", ignore=shutil.ignore_patterns("__pycache__"))

    def go(*more):
        words = [sys.executable, "-B", "-c", AGAIN, str(tmp_path / "pieces"), str(tree), str(own.parent), *more]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    go("stop")
    kd = tree / "kdjax" / "methods" / "offline" / "kd.py"
    (kd.parent / "new_method.py").write_text(kd.read_text())
    kd.write_text(
        kd.read_text().replace('"""', '"""Something else. ', 1).replace("\n    return ", "\n    # here it ends\n\n    return ")
    )
    for file in ("train/loop.py", "train/block.py", "core/gradients.py"):
        path = tree / "kdjax" / file
        path.write_text(path.read_text() + "\n\ndef unused():\n    return 1\n")
    assert "student: resumed at step 6 of 12" in go()
    whole = run_stages(both(), run(tmp_path / "whole"))
    assert text(tmp_path / "pieces") == text(tmp_path / "whole")
    for name, result in whole.items():
        assert read_model(tmp_path / "pieces" / "models" / name)[1]["digest"] == result.digest
