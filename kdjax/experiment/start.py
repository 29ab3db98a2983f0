"""Stages whose networks start from weights of elsewhere: `config.init`."""

import re

from kdjax.core import InputError, nearest
from kdjax.core.paths import user_path
from kdjax.experiment.config import Config
from kdjax.experiment.context import Experiment
from kdjax.experiment.data import seen_shape
from kdjax.train.stage import sources_of
from kdjax.train.start import read_start


def started(config: Config, experiment: Experiment) -> Experiment:
    """The experiment with the networks that `config.init` names at the weights it names.

    A path alone is for the network of the last stage; `<stage>=<path>` for that of a stage, `<stage>/<network>=<path>` for one of
    several; more than one with commas between. What a stage takes over from one before it, that one starts with.

    Raises:
      InputError: one line that names the stage, the network, or what does not fit.
    """
    stages = dict(experiment.stages)
    for name, path in _asked(config.get("init", ""), stages).items():
        given = f"--config.init={config.init}"
        stage, _, network = name.partition("/")
        if stage not in stages:
            raise InputError(f"{given} is not accepted: there is no stage {stage!r}; accepted: {nearest(stage, stages)}")
        while sources := sources_of(stages[stage]):
            stage = sources[0]
        nets = stages[stage].nets
        network = network or next(iter(nets), "")
        if network not in nets:
            raise InputError(
                f"{given} is not accepted: stage {stage!r} has no network {network!r}; accepted: {nearest(network, nets)}"
            )
        try:
            start = read_start(
                path, network, nets[network], seen_shape(config.data, experiment.dataset),
                part=config.get("init_part", ""), resize=config.get("init_resize", False),
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"{given} is not accepted for {stage}: {with_options(str(error), 'init')}") from None
        start = start._replace(told=with_options(start.told, "init"))
        stages[stage] = stages[stage]._replace(start=(*stages[stage].start, start))
    return experiment._replace(stages=stages)


def recorded(experiment: Experiment) -> dict[str, dict]:
    """What config.json says of weights that were started from: by stage and network."""
    return {
        f"{name}/{start.network}": {
            "sha256": start.sha256, "format": start.format, "members": len(start.members), "fresh": list(start.fresh),
            "taken": start.told,
        }
        for name, stage in experiment.stages.items()
        for start in stage.start
    }  # fmt: skip


def _asked(text: str, stages: dict) -> dict[str, str]:
    """The paths by stage."""
    if not text:
        return {}
    if user_path(text).exists():
        return {list(stages)[-1]: text}
    found = {}
    for part in text.split(","):
        name, equals, path = part.strip().partition("=")
        name, path = (name, path) if equals else (list(stages)[-1], name)
        if name in found or not path:
            raise InputError(
                f"--config.init={text} is not accepted at {part!r}: expected <run or file>, or <stage>=<run or file>,..."
            )
        found[name] = path
    return found


def with_options(text: str, which: str) -> str:
    """What is told of a file of weights, with the options of this config in the place of the reader's.

    >>> with_options("part=ema takes the averaged ones", "teacher")
    '--config.teacher_part=ema takes the averaged ones'
    """
    options = {"part": f"{which}_part", "resize": f"{which}_resize"}
    if which == "teacher":
        options["net.stem"] = "teacher_training.net.stem"
    for name, option in options.items():
        text = re.sub(rf"(^|(?<= )){re.escape(name)}=", f"--config.{option}=", text)
    return text
