"""What is told of a run that goes on, though a measure says that it is lost."""

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
      `{measure: line}`, which names the measure, its lowest value, and of how many members it is too low.

    >>> raised([Alarm("rank_me", 2.0, "all rows are alike")], {"rank_me": np.array([1.25, 9.0])}, 40)
    {'rank_me': 'rank_me is 1.25 at step 40, below 2 in 1 of 2 members: all rows are alike'}
    """
    found = {}
    for alarm in alarms:
        values = np.ravel(np.asarray(measured.get(alarm.measure, ()), float))
        low = values[values < alarm.least]
        if low.size:
            members = f" in {low.size} of {values.size} members" * (values.size > 1)
            value = f"{alarm.measure} is {low.min():.3g} at step {step}"
            found[alarm.measure] = f"{value}, below {alarm.least:g}{members}: {alarm.meaning}"
    return found
