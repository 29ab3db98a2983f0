"""A teacher from outside: from a run, a file of weights, an Orbax checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax import models
from kdjax.core import Follower, Frozen, InputError, Net, read_by_name
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.evaluate.classifier import with_quantised
from kdjax.models.quantised import Precision, quantise, quantised
from kdjax.train import fingerprint
from kdjax.train.collect import Collector, on_devices
from kdjax.train.devices import place
from kdjax.train.members import stack
from kdjax.train.run import Run
from kdjax.train.stage import Stage
from kdjax.train.weight_files import find, fit


class Teacher(NamedTuple):
    """A network with weights from outside.

    Attributes:
      net: takes images in [0, 1].
      params: of the net.
      stats: likewise.
      sha256: of the file; of a folder, over the paths and arrays of the weights.
      format: `"run"`, `"orbax"`, or that of a `models.WeightFile`.
      specification: what `models.build` makes the net from.
      members: the teachers it is made of, where they are several.
      told: which part of the file it is, and what was left over; empty where it is all of it.
      precision: that its kernels are kept in while it teaches; `params` are whole.
    """

    net: Net
    params: Any
    stats: Any
    sha256: str
    format: str
    specification: dict
    members: tuple["Teacher", ...] = ()
    told: str = ""
    precision: Precision = "float32"

    def frozen(self) -> Frozen:
        """For a stage; the source is made of the weights' sha256, of what was taken, and of the net, normalisation included."""
        whole = Frozen(self.params, self.stats, f"{self.sha256}/{fingerprint.of_json([self.specification, self.told])}")
        return quantised_teacher(whole, self.precision)


def quantised_teacher(teacher: Frozen, precision: Precision) -> Frozen:
    """A frozen teacher with its kernels quantised, for the net that `quantised` gives."""
    if precision == "float32":
        return teacher
    return Frozen(quantise(teacher.params, precision), teacher.stats, f"{teacher.source} {precision}")


def beside_quantised(predict: Callable, weights: Callable, net: Net, precision: Precision) -> Callable:
    """The `predict` of a method with a network more, by the name of a precision: the first one, with its kernels kept in that.

    Args:
      predict: of the method, and so is `weights`.
      weights: likewise.
      net: the first network.
      precision: of the kernels.
    """

    def both(state, inputs):
        params, stats = next(iter(weights(state).values()))
        taps, _ = quantised(net, precision).apply(quantise(params, precision), stats, inputs, train=False)
        return {**predict(state, inputs), precision: taps}

    return both


def together(teachers: Sequence[Teacher], specification: dict) -> Teacher:
    """Several teachers as one, an ensemble.

    Args:
      teachers: two or more.
      specification: of the ensemble of their nets.
    """
    joined = ensemble_of([one.frozen() for one in teachers], specification)
    sha256 = fingerprint.of_json([[one.sha256, one.told] for one in teachers])
    return Teacher(
        models.build(specification), joined.params, joined.stats, sha256, "several", specification, members=tuple(teachers)
    )


def ensemble_of(teachers: Sequence[Frozen], specification: dict) -> Frozen:
    """The weights of an ensemble from those of its nets."""
    source = fingerprint.of_json([*(one.source for one in teachers), specification])
    return Frozen(tuple(one.params for one in teachers), tuple(one.stats for one in teachers), source)


def read_teacher(
    path: str | Path, specification: Mapping[str, Any], shape: tuple[int, ...], *, part: str = "", resize: bool = False
) -> Teacher:
    """Reads a trained network, whoever trained it.

    Runs and kdjax's own safetensors files say themselves which net they hold and how it normalises images. For weights under
    PyTorch's names, and for Orbax checkpoints of kdjax's nets, the specification says it.

    Args:
      path: a run's folder, whose last stage is taken; a safetensors file; a PyTorch checkpoint; the folder of an Orbax checkpoint
        (a tree with `params`, and `batch_stats` or `stats`; or `params` alone), or that of a manager, whose last step is taken.
      specification: of the net, for `models.build`.
      shape: of one image, `(H, W, C)`.
      part: which of several networks: of a run by its name (`"target_encoder"`); in a PyTorch file by its key, its prefix of names,
        or `"ema"` for averaged weights.
      resize: whether the positions of a transformer are resized to these images, bicubically as timm does it.

    Raises:
      InputError: one line that names the path, what was found there and what is accepted.
    """
    found = find(path := user_path(path), part)
    own = dict(specification) if found.specification is None else found.specification
    try:
        fitted = fit(found, own, shape, resize=resize)
    except InputError as error:
        # The weights of a run are those of its net, as reading it has shown: only the images can be others.
        images = f"it does not take images {tuple(shape)}: " * (found.format == "run" and "take images" not in str(error))
        raise InputError(printable(f"{path} is refused: {images}{error}")) from None
    return Teacher(models.build(own), fitted.params, fitted.stats, found.sha256, found.format, own, told=fitted.told)


class _Alone(NamedTuple):
    network: Follower


def measure_teacher(teacher: Teacher, run: Run, stage: Stage) -> dict[str, list[float]]:
    """What a teacher can do on the test images of a run, before anybody learns from it: `{"test_nll": [x], ...}`.

    Args:
      teacher: what is measured.
      run: its images, and where it computes.
      stage: that learns from it, whose measures and whose view of the images it has.
    """
    predict, weights = read_by_name(network=teacher.net)
    evaluate = stage.evaluate
    if teacher.precision != "float32":
        predict, evaluate = (
            beside_quantised(predict, weights, teacher.net, teacher.precision),
            with_quantised(evaluate, teacher.precision),
        )
    state = place(stack([_Alone(Follower(teacher.params, teacher.stats))]), run.devices, lead=1)
    ask = Collector(predict, run, on_devices(run), stage.view)
    measures = evaluate(ask(state), "test", True)
    return {f"test_{name}": np.ravel(value).astype(float).tolist() for name, value in measures.items()}
