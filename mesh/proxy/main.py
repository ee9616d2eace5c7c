"""`mesh sidecar --bootstrap FILE [--access-log PATH]`: the process. Importing this starts nothing."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from mesh.base.errors import ConfigError
from mesh.base.patience import pause_s
from mesh.proxy.shell.sidecar import Sidecar
from mesh.telemetry.logs import setup_logging
from mesh.xds.bootstrap import Bootstrap, read_bootstrap

log = logging.getLogger("mesh.sidecar")

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
_PR_SET_DUMPABLE = 4


def run(argv: Sequence[str]) -> int:
    """Run a sidecar until SIGTERM or SIGINT.

    Args:
        argv: without the command's name, as in `["--bootstrap", "/run/mesh/bootstrap.json"]`.

    Returns:
        The exit code: 0 after a drain, 1 when it could not begin, 2 for wrong arguments.
    """
    arguments = _parse(argv)
    if arguments is None:
        return EXIT_USAGE
    setup_logging("sidecar")
    _allow_own_proc()
    exit_code = EXIT_OK
    try:
        _run_loop(_serve(arguments.bootstrap, arguments.access_log))
    except* (ConfigError, OSError) as group:
        log.error("the sidecar ended", extra={"said": "; ".join(str(error) for error in group.exceptions)})
        exit_code = EXIT_FAILED
    return exit_code


async def _serve(path: Path, access_log: str | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bootstrap = await _read_when_written(path, stop)
    if bootstrap is None:
        return
    async with asyncio.TaskGroup() as group:
        await Sidecar(bootstrap, access_log, group).run(stop)
    log.info("ended")


async def _read_when_written(path: Path, stop: asyncio.Event) -> Bootstrap | None:
    """Return the bootstrap as soon as the agent has written it; None when asked to stop before.

    Raises:
        ConfigError: it is not a bootstrap.
        OSError: it is there and cannot be read.
    """
    is_said, began = False, time.monotonic()
    while not stop.is_set():
        try:
            return read_bootstrap(await asyncio.to_thread(path.read_text), str(path))
        except FileNotFoundError:
            if not is_said:
                is_said = True
                log.info("waiting for the agent to write the bootstrap", extra={"path": str(path)})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s(time.monotonic() - began))
    return None


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # a platform without uvloop: slower, and the same
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


def _allow_own_proc() -> None:
    """Let this process open its own /proc/self/fd.

    After a change of user without an exec the kernel gives /proc/self to root, and the key could not be handed to
    OpenSSL through memory (see connection/secrets.py). Only processes of the same user profit from it, and this
    user has no other.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _parse(argv: Sequence[str]) -> argparse.Namespace | None:
    parser = argparse.ArgumentParser(prog="mesh sidecar", description="Run the data plane beside a service.")
    parser.add_argument("--bootstrap", type=Path, required=True, help="the file that the agent writes")
    parser.add_argument("--access-log", help="a path, or - for standard output; default: as the listeners say")
    try:
        return parser.parse_args(list(argv))
    except SystemExit as stop:
        if stop.code == 0:
            raise
        return None


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
