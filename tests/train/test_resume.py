"""Runs that were stopped or damaged, and go on to the same end."""

import errno
import itertools
import os

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import CheckpointManager
from tiny import LABELS, TRAIN, accuracy, after, assert_close, assert_same, linear, metrics, resumed, run, sgd, stage, weights

from configs import generations
from configs.studies import watermark as watermark_study
from kdjax import augment, methods, models
from kdjax.core import InputError, Net
from kdjax.data import epochs
from kdjax.experiment import watermark
from kdjax.methods.recipes import mixed
from kdjax.train import Pace, Stopped, run_stages
from kdjax.train.devices import find_devices


@pytest.mark.parametrize(
    ("share", "net", "resident", "keep_last"),
    [
        ("batch", linear(), True, False),
        ("none", models.conv_net((4,), 3), True, False),
        ("batch", linear(), False, False),
        ("none", linear(), True, True),  # of 40 rows every third batch has 8, and so no block sees an epoch
        ("batch", linear(), False, True),
    ],
)
def test_k_steps_saved_and_resumed_are_2k_steps_bit_for_bit(tmp_path, share, net, resident, keep_last):
    sampler = epochs(TRAIN.size, 16, keep_last=keep_last)
    stages = {"only": stage(methods.supervised(net, sgd()), steps=11, members=2, sampler=sampler)}
    said, options = [], {"share": share, "resident": resident}
    whole = run_stages(stages, run(tmp_path / "whole", **options))
    pieces = resumed(tmp_path / "pieces", stages, (1, 4), said, **options)
    assert_same(weights(pieces), weights(whole))
    assert pieces["only"].digest == whole["only"].digest and pieces["only"].measures == whole["only"].measures
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")
    assert [x for x in said if "resumed" in x] == [f"only: resumed at step {k} of 11" for k in (2, 10)]


def test_a_resumed_run_mixes_the_images_that_the_whole_one_does(tmp_path):
    stages = {"only": stage(mixed(methods.supervised(linear(), sgd()), augment.cutmix, classes=3), steps=11, members=2)}
    whole, plain = run_stages(stages, run(tmp_path / "whole")), {"only": stage(steps=11, members=2)}
    assert_same(weights(resumed(tmp_path / "pieces", stages, (1, 4))), weights(whole))
    assert whole["only"].digest != run_stages(plain, run(tmp_path / "plain"))["only"].digest


def moving():
    """A linear net of what is less than its running mean, whose last stage, a bridge, is one of these again."""
    net = linear()

    def seen(x):
        return x["pooled"] if isinstance(x, dict) else x.reshape(len(x), -1)

    def init(key, x):
        return net.init(key, seen(x))[0], {"mean": jnp.zeros(seen(x).shape[1])}

    def apply(params, stats, x, *, train, key=None):
        mean = 0.5 * (stats["mean"] + seen(x).mean(0)) if train else stats["mean"]
        return net.apply(params, {}, seen(x) - mean[None], train=train)[0], {"mean": mean}

    return Net(init, apply)


def ps_kd():
    return methods.ps_kd(linear(), sgd(), labels=LABELS, steps_per_epoch=2, epochs=6, alpha=0.8)


KEPT = {
    "the bank of past predictions": {"only": stage(ps_kd())},
    "the mean of weights and its count": {"only": stage(methods.swa(linear(), sgd(), start=3, every=3))},
    "the attention over peers": {
        "only": stage(methods.okddip([linear()] * 3, sgd(), steps_per_epoch=2, warmup_epochs=2, shared=False))
    },
    "the bridge and the statistics of its teacher": {
        "teacher": stage(methods.supervised(moving(), sgd()), steps=2),
        "only": stage(
            methods.sokd(moving(), moving(), moving(), sgd(0.01), teacher_norm="train"),
            given=lambda results: {"teacher": results["teacher"].frozen()},
        ),
    },
}


@pytest.mark.parametrize("what", KEPT)
def test_what_methods_keep_goes_on_with_a_run(tmp_path, what):
    stages = KEPT[what]
    whole = run_stages(stages, run(tmp_path / "whole"))
    pieces = resumed(tmp_path / "pieces", stages, (3 + len(stages) - 1,))  # in the middle of the last stage
    assert pieces["only"].digest == whole["only"].digest
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")


def test_a_detector_goes_on_with_the_nets_that_it_looks_at(tmp_path):
    """They lie in its State, here as they begin."""
    config = watermark_study.get_config()
    config.update({"seeds": 2, "references": 1, "pruning": (), "temperatures": (1.0,), "data": {"batch": 16}})
    config.update(
        {"training": {"net": {"widths": (2,)}}, "student_training": {"net": {"widths": (2,)}}, "verification": {"random_keys": 1}}
    )
    found = watermark.build(config).stages["detector"]
    told = lambda collect, split, final: {"accuracy": np.zeros(2)}  # noqa: E731
    fields = {"warm_start": None, "warm_start_from": "", "steps": 6, "pace": Pace(1, 2, 2), "evaluate": told}
    stages = {"only": found._replace(**fields)}
    whole = run_stages(stages, run(tmp_path / "whole"))
    assert resumed(tmp_path / "pieces", stages, (3,))["only"].digest == whole["only"].digest
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")


def test_a_round_goes_on_with_the_net_that_teaches_it(tmp_path):
    """It lies in the State, which a resumed run does not start anew from the round before."""
    config = generations.get_config()
    config.update({"rounds": 1, "controls": False, "seeds": 2, "evaluate_epochs": 1, "save_epochs": 1, "labels_per_class": 10})
    config.update({"student_training": {"epochs": 3, "net": {"widths": (3,)}}})
    built = generations.build(config)
    stages = {name: one._replace(evaluate=accuracy) for name, one in built.stages.items()}
    options = {"splits": {"val": built.dataset.val, "test": built.dataset.test}}
    whole = run_stages(stages, run(tmp_path / "whole", **options))
    said = []
    pieces = resumed(tmp_path / "pieces", stages, (5,), said, **options)
    assert any(line.startswith("round1: resumed at step") for line in said)
    assert {name: one.digest for name, one in pieces.items()} == {name: one.digest for name, one in whole.items()}
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_costs_some_steps_and_no_bit(tmp_path):
    stages = {"only": stage()}
    whole, said = run_stages(stages, run(tmp_path / "whole")), []
    with pytest.raises(Stopped):
        run_stages(stages, run(tmp_path / "pieces", stop=after(5)))
    (tmp_path / "pieces" / "checkpoints" / "only" / "10" / "manifest" / "metadata").unlink()
    pieces = run_stages(stages, run(tmp_path / "pieces", said))
    assert "checkpoint only/10 is refused" in said[0] and "resumed at step 8 of 12" in said[1]
    assert_same(weights(pieces), weights(whole))
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")


def test_a_stage_killed_after_its_last_save_is_finished_from_it(tmp_path):
    import shutil

    stages = {"only": stage()}
    whole = run_stages(stages, run(tmp_path))
    text = metrics(tmp_path)
    shutil.rmtree(tmp_path / "models" / "only")
    again = run_stages({"only": stages["only"]}, run(tmp_path))
    assert_same(weights(again), weights(whole))
    assert metrics(tmp_path) == text


@pytest.mark.parametrize("left", [lambda whole: b"", lambda whole: whole[:-30], lambda whole: b"\xff\n" + whole])
def test_lines_that_were_lost_come_back_with_the_checkpoint(tmp_path, left):
    """Also those that the result is chosen by: the test accuracy at the best validation accuracy."""
    stages, options = {"only": stage()}, {"test_curve": True}
    whole = run_stages(stages, run(tmp_path / "whole", **options))
    with pytest.raises(Stopped):
        run_stages(stages, run(tmp_path / "torn", stop=after(4), **options))
    path = tmp_path / "torn/metrics.jsonl"
    path.write_bytes(left(path.read_bytes()))
    torn = run_stages(stages, run(tmp_path / "torn", **options))
    assert metrics(tmp_path / "torn") == metrics(tmp_path / "whole")
    assert torn["only"].measures == whole["only"].measures and "test_at_best_val_accuracy" in torn["only"].measures


def test_a_full_disk_ends_a_run_in_one_line_and_the_same_command_goes_on(tmp_path, monkeypatch):
    """Whatever is written when it is full, at each of the places in turn."""
    stages = {"only": stage(steps=4)}
    whole = run_stages(stages, run(tmp_path / "whole"))
    full, count = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), itertools.count()

    def writes(function, at):
        def write(*args, **options):
            if next(count) == at:
                raise full
            return function(*args, **options)

        return write

    for at in itertools.count():
        folder, count = tmp_path / str(at), itertools.count()
        one = run(folder)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", writes(os.fsync, at))
            patched.setattr(CheckpointManager, "save", writes(CheckpointManager.save, at))
            try:
                run_stages(stages, one)
                break
            except (OSError, InputError) as error:
                assert os.strerror(errno.ENOSPC) in str(error) and "\n" not in str(error) and str(folder) in str(error)
        results = run_stages(stages, run(folder))
        assert metrics(folder) == metrics(tmp_path / "whole")
        assert_same({k: x.weights for k, x in results.items()}, {k: x.weights for k, x in whole.items()})
    assert at > 6


def test_another_configuration_does_not_resume(tmp_path):
    with pytest.raises(Stopped):
        run_stages({"only": stage()}, run(tmp_path, stop=after(1)))
    for changed in (stage(methods.supervised(linear(), sgd(0.2))), stage(batch=8), stage(refresh_every=2), stage(members=2)):
        with pytest.raises(InputError, match=r"no checkpoint in .*only can be used"):
            run_stages({"only": changed}, run(tmp_path))
    with pytest.raises(InputError, match=r"no checkpoint in .*only can be used"):
        run_stages({"only": stage()}, run(tmp_path, data_seed=5))


def test_other_devices_resume_and_say_so(tmp_path):
    stages, said = {"only": stage()}, []
    whole = run_stages(stages, run(tmp_path / "whole"))
    with pytest.raises(Stopped):
        run_stages(stages, run(tmp_path / "pieces", stop=after(2)))
    (tmp_path / "cache").mkdir()
    pieces = run_stages(stages, run(tmp_path / "pieces", said, devices=find_devices(count=2), cache=tmp_path / "cache"))
    assert_close(weights(pieces), weights(whole), 1e-5)
    assert any("other devices or versions than before" in line for line in said)
    assert list((tmp_path / "cache").iterdir()) == []  # such a result is no repetition: it is not shared
