"""The control plane as a process: settings in, SIGTERM drains, an exit code out. Importing this starts nothing."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from mesh.base.clock import SystemClock
from mesh.base.errors import MeshError
from mesh.controlplane.server import ControlPlane
from mesh.controlplane.settings import ControlPlaneSettings, load_settings
from mesh.telemetry.logs import setup_logging

log = logging.getLogger("mesh.controlplane")

OK, FAILED = 0, 1


def run(argv: Sequence[str]) -> int:
    """Run the control plane until SIGTERM or SIGINT; return the exit code.

    Args:
        argv: `--config FILE`.
    """
    parser = argparse.ArgumentParser(prog="mesh control-plane", description="Run the control plane.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, as JSON")
    arguments = parser.parse_args(argv)
    setup_logging("control-plane")
    try:
        settings = load_settings(arguments.config)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except (MeshError, OSError) as error:
        log.error("control plane cannot run", extra={"reason": str(error)})
        return FAILED
    log.info("control plane stopped")
    return OK


async def _serve(settings: ControlPlaneSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await ControlPlane(settings, SystemClock()).serve(stop)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
