"""What is told where a measure says that a stage is lost: of one that goes on, and of one that ends there."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kdjax.evaluate import Alarm


def raised(alarms: Iterable[Alarm], measured: Mapping[str, Any], step: int) -> dict[str, str]:
    """The alarms that measures give, each as a line.

    Args:
      alarms: of the stage.
      measured: measure -> values, one a member. A value that is not a number gives no alarm.
      step: when it was measured.

    Returns:
      `{measure: line}`, which names the measure, its lowest value, and of how many members it is too low; of several alarms of a
      measure the last one.

    >>> raised([Alarm("rank_me", 2.0, "all rows are alike")], {"rank_me": np.array([1.25, 9.0])}, 40)
    {'rank_me': 'rank_me is 1.25 at step 40, below 2 in 1 of 2 members: all rows are alike'}
    """
    return {alarm.measure: line for alarm in alarms if (line := _line(alarm, measured, step))}


def fatal(alarms: Iterable[Alarm], measured: Mapping[str, Any], step: int) -> str:
    """The first alarm that ends the stage, as a line: one that may, in all members; empty where there is none.

    Args:
      alarms: as above.
      measured: as above.
      step: as above.

    >>> alarm = Alarm("rank_me", 2.0, "all rows are alike", stops_after=20)
    >>> fatal([alarm], {"rank_me": [1.0, 9.0]}, 40), fatal([alarm], {"rank_me": [1.0, 1.0]}, 20)
    ('', '')
    >>> fatal([alarm], {"rank_me": [1.25, 1.0]}, 40)
    'rank_me is 1 at step 40, below 2 in 2 of 2 members: all rows are alike'
    """
    ending = [alarm for alarm in alarms if alarm.stops_after is not None]
    lines = (_line(alarm, measured, step) for alarm in ending if np.all(_values(alarm, measured) < alarm.least))
    return next(filter(None, lines), "")


def _line(alarm: Alarm, measured: Mapping[str, Any], step: int) -> str:
    values = _values(alarm, measured)
    low = values[values < alarm.least]
    if not low.size or (alarm.stops_after is not None and step <= alarm.stops_after):
        return ""
    members = f" in {low.size} of {values.size} members" * (values.size > 1)
    return f"{alarm.measure} is {low.min():.3g} at step {step}, below {alarm.least:.3g}{members}: {alarm.meaning}"


def _values(alarm: Alarm, measured: Mapping[str, Any]) -> np.ndarray:
    return np.ravel(np.asarray(measured.get(alarm.measure, ()), float))
