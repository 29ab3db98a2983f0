"""Orbax tells of an error that it raises, which is told in one line, also in pages of its own; those are left out."""

import logging
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any


@cache
def quieten_orbax() -> None:
    """From now on Orbax does not log what it raises, nor what its event loops, which it closes on an error, have left to do."""
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in Path(record.pathname).parts)
    logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())
    sys.unraisablehook = partial(_unless_loop_is_closed, sys.unraisablehook)


def _unless_loop_is_closed(hook: Any, found: Any) -> None:
    # tensorstore's own threads hand in results of the other reads, when the first of them has failed already
    if not (found.exc_type is RuntimeError and str(found.exc_value) == "Event loop is closed" and found.object is None):
        hook(found)
