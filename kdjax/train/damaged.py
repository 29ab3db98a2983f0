"""What a run does about rows that cannot be read."""

import jax

from kdjax.core import InputError
from kdjax.train.processes import gathered
from kdjax.train.run import Run


def goes_on(run: Run) -> bool:
    """Whether reading steps over damaged rows: where the run says so, and with several processes, none of which may fall out of
    step; `name_damaged` then refuses for all of them."""
    return run.corrupt == "skip" or jax.process_count() > 1


def name_damaged(run: Run, lines: list[str]) -> None:
    """Names every damaged row once, or refuses the first one, on all processes; all must call it.

    Raises:
      InputError: where there is one and the run is to stop.
    """
    met = [line for own in gathered(lines) for line in own]
    if met and run.corrupt == "stop":
        raise InputError(f"{met[0]}; --config.data.corrupt=skip takes the next image instead")
    for line in met:
        if line not in run.damaged:
            run.damaged.add(line)
            run.say(f"{line}; the next image is taken instead")
