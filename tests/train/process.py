"""One of several processes: `python process.py <port> <process> <processes> <devices> <folder> <what>...`."""

import os
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from tests.fast_compile import xla_flags  # noqa: E402

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = xla_flags(int(sys.argv[4]))
import conftest  # noqa: E402, F401  the settings of all tests
import jax  # noqa: E402
import numpy as np  # noqa: E402
from tiny import TRAIN, after, broken, mapped, run, sgd, stage  # noqa: E402

from kdjax import methods, models  # noqa: E402
from kdjax.core import InputError  # noqa: E402
from kdjax.data import array_source  # noqa: E402
from kdjax.train import Pace, Stopped, liveness, run_stages  # noqa: E402
from kdjax.train.devices import find_devices  # noqa: E402
from kdjax.train.processes import first, gathered, together  # noqa: E402
from kdjax.train.teacher_cache.spec import TeacherCache  # noqa: E402

WIDE = array_source(np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1)).astype(np.uint8), np.arange(64) % 256)


def flat(hidden, out, axis=None):
    """A small net with batch statistics, on the pixels of an image."""
    net = models.mlp_head(hidden, out, axis_name=axis)

    def pixels(x):
        return x.reshape(x.shape[0], -1)

    def apply(params, stats, x, *, train, key=None):
        taps, stats = net.apply(params, stats, pixels(x), train=train)
        return {**taps, "logits": taps["embedding"]}, stats

    return net._replace(init=lambda key, x: net.init(key, pixels(x)), apply=apply)


def stages(devices, source=TRAIN):
    """A teacher and two students of it."""
    shared = {"source": source, "pace": Pace(2, 6, 6)}
    given = lambda results: {"teacher": results["teacher"].frozen()}  # noqa: E731

    def teacher(axis):
        return methods.supervised(flat(8, 3, axis), sgd(), axis_name=axis)

    def student(axis):
        return methods.kd(flat(8, 3, axis), flat(8, 3, axis), sgd(), axis_name=axis)

    return {
        "teacher": mapped(teacher, devices, **shared),
        "student": mapped(student, devices, given=given, members=2, **shared),
    }


def taught(devices):
    """As `stages`, but the teacher is asked once, in two views."""
    plan = stages(devices)
    return plan | {"student": plan["student"]._replace(teacher_cache=TeacherCache(flat(8, 3, devices.axis_name), views=2))}


def wide():
    """A stage whose weights are large enough to be cut."""
    return {"only": stage(methods.supervised(flat(512, 256), sgd(0.01)), source=WIDE)}


def one_run(above, what):
    """Runs what a word says, in a folder of that name; what was said and refused is left in `<what>.<process>`."""
    folder, said = above / what, []
    parallel = what if what in ("shard_map", "pmap") else "jit"
    devices, options = find_devices(parallel, fsdp=2 if what == "fsdp" else 1), {"resident": what not in ("streaming", "damaged")}
    plan = stages(devices)
    if what == "fsdp":
        plan = wide()
        options |= {"splits": {"test": WIDE}}
    if what == "taught":  # what the teacher gives is computed once, written by the first process and read by all
        plan = taught(devices)
    if what == "restart":  # the checkpoint of more processes, if there is one
        options |= {"stop": after(3)} if jax.process_count() == 4 else {}
    if what == "damaged":  # row 30 is met by one process only
        plan = stages(devices, broken(TRAIN, 30))
    try:
        results = run_stages(plan, run(folder, said, devices=devices, cache=None, **options))
        digests = {name: result.digest for name, result in results.items()}
        assert len({str(x) for x in gathered(digests)}) == 1, "processes hold different results"
    except (InputError, Stopped) as error:
        said.append(f"{type(error).__name__}: {error}")
    tell(above, what, said)


def tell(above, what, lines):
    (above / f"{what}.{jax.process_index()}").write_text("\n".join(lines))


def agreements(above):
    """What all processes learn of each other."""
    own = jax.process_index()
    wanted = [{"process": i, "text": "x" * 300 * i} for i in range(jax.process_count())]
    assert gathered({"process": own, "text": "x" * 300 * own}) == wanted
    assert first(lambda: [own, "hello"]) == [0, "hello"]
    told = []
    for call in (first, together):

        def refuse(call=call):
            if (own == 0) == (call is first):
                raise InputError(f"no from {own}")

        try:
            call(refuse)
        except InputError as error:
            told.append(str(error))
    tell(above, "agreements", told)


def main(port, process, processes, _, folder, *words):
    liveness.initialize(f"localhost:{port}", int(processes), int(process))
    with liveness.watched(told):
        Path(folder).mkdir(parents=True, exist_ok=True)
        agreements(Path(folder))
        for what in words:
            one_run(Path(folder), what)


def told(error):
    traceback.print_exception(error)
    return 1


if __name__ == "__main__":
    main(*sys.argv[1:])
