"""Identities of stages: equal for what computes the same, different for what does not, and what differs in words."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import IMAGES, LABELS, TEST, TRAIN, accuracy, linear, run, sgd, stage

from kdjax import augment, methods, models
from kdjax.core import Frozen, InputError, normalised
from kdjax.data import array_source, epochs, keep_labels, subset
from kdjax.train import sweep
from kdjax.train.devices import find_devices
from kdjax.train.identify import identity_of
from kdjax.train.identity import cause
from kdjax.train.teacher_cache.spec import TeacherCache

KEY, IMAGE = jax.random.key(0), jnp.zeros((1, 4, 4, 1))
TEACHER = Frozen(*linear().init(KEY, IMAGE), "digest")


def of(folder, one, given=None, **options):
    return identity_of("one", one, run(folder, **options), given or {}, {})


def student(temperature=4.0, *, width=4, rate=0.1, axis=None, **changed):
    nets = (models.conv_net((w,), axis_name=axis) for w in (width, 4))
    return stage(methods.kd(*nets, sgd(rate), temperature=temperature, axis_name=axis), **changed)


def weighted(shift):
    """A method that holds a matrix."""
    matrix = np.full((16, 16), shift, np.float32)
    net = linear()

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, stats, (x.reshape(-1, 16) @ matrix).reshape(x.shape), train=train)

    return stage(methods.supervised(net._replace(apply=apply), sgd()))


def test_what_changes_a_result_changes_the_identity(tmp_path):
    few = keep_labels(TRAIN, 2, 0)[1]
    swept, hyper = sweep(lambda rate: methods.supervised(linear(), optax.sgd(rate)), {"rate": [0.1, 0.2]})
    other, _ = sweep(lambda rate: methods.supervised(linear(), optax.sgd(rate)), {"rate": [0.1, 0.4]})
    stages = [
        stage(),
        stage(methods.supervised(linear(), sgd(0.2))),
        stage(methods.supervised(linear(), sgd(), smoothing=0.1)),
        stage(methods.supervised(linear(), sgd(), micro=2)),
        stage(methods.supervised(normalised(linear(), [0.5], [0.5]), sgd())),
        weighted(1.0),
        weighted(2.0),
        stage(steps=6),
        stage(batch=8),
        stage(members=2),
        stage(nets={"network": {"name": "other"}}),
        stage(augment=augment.per_image()),
        stage(augment=augment.per_image(partial(augment.pad_crop, padding=1))),
        stage(augment=augment.per_image(partial(augment.pad_crop, padding=2))),
        stage(source=few),
        stage(source=subset(TRAIN, np.arange(30))),
        stage(source=array_source(IMAGES, np.roll(LABELS, 1))),
        stage(sampler=epochs(TRAIN.size, 16, keep_last=True)),
        stage(view=lambda batch: jnp.asarray(batch["image"], jnp.float32)),
        stage(refresh=lambda state, step, key: state, refresh_every=2),
        stage(refresh=lambda state, step, key: 2 * state, refresh_every=2),
        stage(swept, members=2, hyper=hyper),
        stage(other, members=2, hyper={"rate": np.array([0.1, 0.4])}),
    ]
    found = [of(tmp_path, one).digest for one in stages]
    assert len(set(found)) == len(found)
    assert [of(tmp_path, one).digest for one in (stage(), weighted(1.0), stage(source=keep_labels(TRAIN, 2, 0)[1]))] == [
        found[0],
        found[5],
        found[14],
    ]
    options = {"seed": 9}, {"data_seed": 9}, {"share": "none"}, {"digest": "other"}, {"select": "best"}
    assert len({found[0], *(of(tmp_path, stage(), **one).digest for one in options)}) == 6


def test_teachers_and_temperatures_change_the_identity(tmp_path):
    def with_teacher(one, source="digest"):
        params, stats = jax.eval_shape(lambda: models.conv_net((4,)).init(KEY, IMAGE))
        return of(tmp_path, one, {"teacher": Frozen(params, stats, source)}).digest

    stages = [student(), student(2.0), student(rate=0.2), student(width=16)]
    found = {with_teacher(one) for one in stages}
    assert len({*found, with_teacher(student(), "other")}) == 5 and with_teacher(student()) in found


def test_what_is_only_told_of_a_stage_does_not_count(tmp_path):
    wanted = of(tmp_path, stage()).digest
    assert of(tmp_path, stage(about={"method": "other"}, evaluate=lambda *_: {}, optional=True)).digest == wanted
    assert of(tmp_path, stage(), how="map", resident=False, workers=2, cache=tmp_path, corrupt="skip").digest == wanted


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_wrappers_and_devices_do_not_count(tmp_path, parallel):
    params, stats = jax.eval_shape(lambda: models.conv_net((4,)).init(KEY, IMAGE))
    given = {"teacher": Frozen(params, stats, "digest")}
    wanted = of(tmp_path, student(), given)
    assert of(tmp_path, student(), given, devices=find_devices(count=2)) == wanted
    mapped = student(axis="data", unmapped=student().method)
    assert of(tmp_path, mapped, given, devices=find_devices(parallel, count=2)) == wanted
    with pytest.raises(InputError, match=r"stage 'one' is built for a mapped axis .*axis_name=None as its Stage.unmapped"):
        of(tmp_path, student(axis="data"), given)


OTHER = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_identify import of, stage, student, weighted
print(of(Path(sys.argv[1]), stage()).digest, of(Path(sys.argv[1]), weighted(3.0)).digest)
"""


def test_other_processes_find_the_same(tmp_path):
    own = Path(__file__)
    words = [sys.executable, "-c", OTHER, str(tmp_path), str(own.parent), str(own.parents[2])]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert found == [of(tmp_path, one).digest for one in (stage(), weighted(3.0))]


def test_the_measure_has_a_digest_of_its_own(tmp_path):
    def rounded(collect, split, final):
        return {name: np.round(x) for name, x in accuracy(collect, split, final).items()}

    first, other = of(tmp_path, stage()), of(tmp_path, stage(evaluate=rounded))
    assert first.digest == other.digest and first.measures != other.measures
    for chosen_by in ({"select": "best"}, {"test_curve": True}):
        assert of(tmp_path, stage(), **chosen_by).digest != of(tmp_path, stage(evaluate=rounded), **chosen_by).digest
    assert of(tmp_path, stage(intermediate=True), select="best").digest == first.digest


@pytest.mark.parametrize(
    ("before", "options", "words"),
    [
        ({"steps": 6}, {}, "steps=6, this run has 12"),
        ({"pace": stage().pace._replace(save=8)}, {}, "pace.save=8, this run has 4"),
        ({}, {"digest": "other"}, "other data"),
        ({"source": array_source(IMAGES, np.roll(LABELS, 1))}, {}, "other rows or labels"),
        ({"method": methods.supervised(linear(), sgd(0.2)), "about": {"rate": 0.2}}, {}, "rate=0.2, this run has 0.1"),
        (
            {"method": methods.supervised(linear(), sgd(0.2)), "about": {"rate": 0.1}}, {},
            "another program traced from its step, which nothing else explains",
        ),
        (
            {"augment": augment.per_image(), "about": {"rate": 0.1}}, {},
            "another program traced from its augmentation, which nothing else explains",
        ),
    ],
)  # fmt: skip
def test_what_differs_is_named(tmp_path, before, options, words):
    one = stage(about={"rate": 0.1})
    written, own = of(tmp_path, one._replace(**before), **options).written(), of(tmp_path, one)
    assert cause(written, own) == words and cause(own.written(), own) == ""


def test_teacher_outputs_count_by_what_is_kept_of_them(tmp_path):
    method = methods.kd(linear(), linear(), sgd())
    caches = [TeacherCache(linear(), views=2, classes=3, **more) for more in ({}, {"dtype": "float16"}, {"top": 1})]
    stages = [stage(method), *(stage(method, teacher_cache=cache) for cache in caches)]
    assert len({of(tmp_path, one, {"teacher": TEACHER}).digest for one in stages}) == 4
    moved = caches[0]._replace(folder="elsewhere", about={"crop": 4})
    assert of(tmp_path, stage(method, teacher_cache=moved), {"teacher": TEACHER}) == of(tmp_path, stages[1], {"teacher": TEACHER})


def test_data_free_stages_have_an_identity_too(tmp_path):
    def supervised(rows):
        method = methods.supervised(linear(), sgd())

        def init(key, batch, given):
            return method.init(key, {"image": IMAGE}, given)

        def step(state, batch, key):
            image = jax.random.normal(key, (len(batch["index"]), 4, 4, 1)) * rows
            return method.step(state, {"image": image, "label": batch["index"] % 3, **batch}, key)

        return stage(method._replace(init=init, step=step), source=None)

    first, second = (of(tmp_path, supervised(rows)) for rows in (1.0, 2.0))
    assert first.digest != second.digest and cause(first.written(), second).startswith("another program traced from its step")
    assert TEST.size  # on whose images the prediction is traced
