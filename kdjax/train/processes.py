"""Several processes that run the same program: who writes, and what all must know."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdjax.core import InputError


def primary() -> bool:
    """Whether this is the process that writes files and speaks to people."""
    return jax.process_index() == 0


def gathered(value: Any) -> list[Any]:
    """A JSON value of every process, in their order; all processes must call it.

    >>> gathered({"a": 1})
    [{'a': 1}]
    """
    if jax.process_count() == 1:
        return [value]
    from jax.experimental.multihost_utils import process_allgather

    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = process_allgather(np.int32(len(own))).tolist()
    # Powers of two: few lengths, few compilations.
    padded = np.zeros(1 << max(8, (max(sizes) - 1).bit_length()), np.uint8)
    padded[: len(own)] = own
    return [json.loads(row[:n].tobytes()) for row, n in zip(process_allgather(padded), sizes, strict=True)]


def first(f: Callable[[], Any]) -> Any:
    """What `f()`, a JSON value, gives on the first process, which alone calls it; a refusal there is one everywhere.

    >>> first(lambda: 3)
    3
    """
    if jax.process_count() == 1:
        return f()
    answer: dict[str, Any] = {}
    failed = None
    if primary():
        try:
            answer = {"value": f()}
        except Exception as error:
            failed = error
            answer = {"refused": str(error)} if isinstance(error, InputError) else {"failed": repr(error)}
    answer = gathered(answer)[0]
    if failed is not None:
        raise failed
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "failed" in answer:
        raise RuntimeError(f"process 0 failed: {answer['failed']}")
    return answer["value"]


def wait() -> None:
    """Waits until every process is here."""
    gathered(None)


def together(f: Callable[[], Any]) -> Any:
    """`f()` on every process; where one of them is refused, all are, so that none waits for it.

    >>> together(lambda: 3)
    3
    """
    value, refused = None, ""
    try:
        value = f()
    except InputError as error:
        if jax.process_count() == 1:
            raise
        refused = str(error)
    answers = gathered(refused)
    if refused:
        raise InputError(refused)
    for process, answer in enumerate(answers):
        if answer:
            raise InputError(f"process {process}: {answer}")
    return value
