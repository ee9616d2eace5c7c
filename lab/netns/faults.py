"""How a fault is made on a namespace host. Each is undone when its time is over, or when the job is told to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from lab.driver import LabError
from lab.netns import links
from lab.topology import Topology

APP_PORT = 8080
Undo = Callable[[], None]


async def run(
    order: dict[str, Any], pids: dict[str, int], topology: Topology, *, on_injected: Callable[[], None]
) -> None:
    """Inject, wait, heal.

    Raises:
        LabError: there is no such fault, host or unit.
    """
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    undo = inject(order["fault"], order["host"], order.get("unit", ""), pids, topology)
    try:
        on_injected()
        async with asyncio.timeout(float(order["duration_s"])):
            await ended.wait()
    except TimeoutError:
        pass
    finally:
        undo()


def inject(fault: str, host: str, unit: str, pids: dict[str, int], topology: Topology) -> Undo:
    """Break something now; return what mends it."""
    match fault:
        case "cut":
            cable = links.cable_of(host)
            _run("ip", "link", "set", cable, "down")
            return lambda: _run("ip", "link", "set", cable, "up")
        case "refuse" | "reset":
            flags = ["--tcp-flags", "PSH", "PSH"] if fault == "reset" else ["--syn"]
            rule = ["-o", "lo", "-s", "127.0.0.6", "-p", "tcp", "--dport", str(APP_PORT), *flags]
            rule += ["-j", "REJECT", "--reject-with", "tcp-reset"]
            _on(pids[host], "iptables", "-w", "-t", "filter", "-I", "OUTPUT", *rule)
            return lambda: _on(pids[host], "iptables", "-w", "-t", "filter", "-D", "OUTPUT", *rule)
        case "kill":
            _order(host, unit, "stop-now")
            return lambda: _order(host, unit, "start")
        case "pause":
            _order(host, unit, "pause")
            return lambda: _order(host, unit, "resume")
        case _:
            raise LabError(f"no fault {fault!r}")


def _on(pid: int, *argv: str) -> None:
    _run("nsenter", "--target", str(pid), "--net", "--mount", *argv)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _order(host: str, unit: str, action: str) -> None:
    """Tell the lab's init over its own control socket, as any operator would."""
    from lab.netns.control import ask

    ask(os.environ["LAB_CONTROL"], json.loads(json.dumps({"op": "unit", "host": host, "unit": unit, "action": action})))
