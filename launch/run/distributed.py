"""Several processes, on one machine or on many, as one run."""

import argparse
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kdjax.core import InputError
from kdjax.core.difference import difference
from launch.run import cli

FLAGS = ("distributed", "coordinator", "processes", "process")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--distributed", action="store_true")
    for name in FLAGS[1:]:
        parser.add_argument(f"--{name}")


@contextmanager
def joined(args: argparse.Namespace) -> Iterator[None]:
    """Together with the other processes of the run, if there are any: joins them before JAX looks for its devices.

    When one of them is gone the others say so and end: `kdjax.train.liveness`.
    """
    given = {name: getattr(args, name) for name in FLAGS[1:] if getattr(args, name) is not None}
    if not given and not args.distributed:
        yield
        return
    from kdjax.train import liveness

    _join(args, given)
    with liveness.watched(_told):
        yield


def _join(args: argparse.Namespace, given: dict[str, str]) -> None:
    from kdjax.train import liveness

    if args.distributed and given:
        raise InputError(f"--distributed finds out --{next(iter(given))} by itself: expected one of the two")
    if args.distributed:
        try:
            return liveness.initialize()
        except (ValueError, RuntimeError) as error:
            known = "SLURM, Open MPI, Kubernetes or a TPU pod"
            raise InputError(
                f"--distributed found no {known} around this process ({_first_line(error)}); elsewhere give every process "
                "--coordinator=<host:port> --processes=<number> --process=<its number>"
            ) from None
    for name in FLAGS[1:]:
        if name not in given:
            raise InputError(f"--{name} is missing: expected --coordinator=<host:port> --processes=<number> --process=<its number>")
    _check_address(args.coordinator)
    processes, process = (cli.whole(f"--{name}", given[name], 0) for name in ("processes", "process"))
    if not (processes >= 1 and process < processes):
        raise InputError(f"--process={process} is not accepted: expected 0 to {processes - 1}, below --processes={processes}")
    cli.tell(f"process {process} of {processes}: waiting for the others at {args.coordinator}")
    try:
        liveness.initialize(args.coordinator, processes, process)
    except (OSError, RuntimeError) as error:
        raise InputError(f"--coordinator={args.coordinator}: process {process} cannot join ({_first_line(error)})") from None


def _check_address(text: str) -> None:
    """`<host>:<port>`; an IPv6 address stands in brackets."""
    found = re.fullmatch(r"(?:[^:\s\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):([0-9]{1,5})", text)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise InputError(f"--coordinator={text!r} is not accepted: expected <host:port> of process 0, a port from 1 to 65535")


def _told(error: BaseException) -> int:
    """Shows an error that only this process has, as `cli.run` shows it, and gives its exit code."""

    def again():
        raise error

    try:
        cli.run(again)
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException as unknown:
        traceback.print_exception(unknown)
        return 1


def check_agreement(config: dict, source: dict) -> None:
    """Refuses processes that were not started for the same run.

    Raises:
      InputError: on all of them, naming the process and what differs.
    """
    from kdjax.train.fingerprint import of_platform
    from kdjax.train.processes import gathered

    versions = {k: v for k, v in of_platform().items() if k != "devices"}
    own: dict[str, Any] = {"config file": source, "config": config, "platform": versions}
    wanted, *others = gathered(own)
    for process, other in enumerate(others, 1):
        for part, value in wanted.items():
            if found := difference(value, other[part], at=part, other=f"process {process}"):
                raise InputError(f"process 0 was started with {found}: expected the same command, files and versions everywhere")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
