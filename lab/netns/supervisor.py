"""The first process of a host: it starts units, notices their ends, and starts them again.

States of a unit, and what moves it:

    waiting --gates open--> running --ended well, oneshot--> done
       ^                       |------ended-----------------> backing-off --delay over--> waiting
       |                       |------ended badly, oneshot--> failed
       +----- start ------- stopped <--stop-- any

`stop` and `start` are an operator's; a stopped unit stays stopped, and a unit started again waits until its former
process has ended. The delay doubles while a unit dies young, so that a fault which does not go away by itself costs
little. An agent that dies loses its key (it was in its memory alone): started again, it answers names from its disk and
joins with the secret that it kept for that.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lab.units import Gate, Unit
from mesh.base.errors import LocalProtocolError


class State(StrEnum):
    """Where a unit stands."""

    WAITING = "waiting"
    RUNNING = "running"
    BACKING_OFF = "backing-off"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Event(StrEnum):
    """What happens to a unit."""

    GATES_OPEN = "gates open"
    ENDED_WELL = "ended well"
    ENDED_BADLY = "ended badly"
    DELAY_OVER = "delay over"
    START = "start"
    STOP = "stop"


S, E = State, Event
SERVICE_TRANSITIONS: dict[tuple[State, Event], State] = {
    (S.WAITING, E.GATES_OPEN): S.RUNNING,
    (S.RUNNING, E.ENDED_WELL): S.BACKING_OFF,
    (S.RUNNING, E.ENDED_BADLY): S.BACKING_OFF,
    (S.BACKING_OFF, E.DELAY_OVER): S.WAITING,
    # The process of an earlier life ends after `stop`, and perhaps after the `start` that followed at once.
    **{(state, event): state for state in (S.STOPPED, S.WAITING) for event in (E.ENDED_WELL, E.ENDED_BADLY)},
    **{(state, E.STOP): S.STOPPED for state in State},
    **{(state, E.START): S.WAITING for state in State if state is not S.RUNNING},
    (S.RUNNING, E.START): S.RUNNING,
}
ONESHOT_TRANSITIONS = SERVICE_TRANSITIONS | {
    (S.RUNNING, E.ENDED_WELL): S.DONE,
    (S.RUNNING, E.ENDED_BADLY): S.FAILED,
}
RESTART_DELAY_S = 0.2
MAX_RESTART_DELAY_S = 5.0
YOUNG_S = 5.0  # a unit that lived this long starts again after the shortest delay
TICK_S = 0.02
CANNOT_START = 126  # as a shell says it


@dataclass(slots=True)
class Running:
    """One unit and where it stands; the supervisor owns it."""

    unit: Unit
    state: State = State.WAITING
    pid: int = 0
    starts: int = 0
    exit_code: int | None = None
    since: float = field(default_factory=time.time)
    started_at: float = 0.0
    wake_at: float = 0.0
    young_deaths: int = 0

    def on(self, event: Event) -> None:
        """Move to the next state.

        Raises:
            LocalProtocolError: the table has no such move.
        """
        table = ONESHOT_TRANSITIONS if self.unit.is_oneshot else SERVICE_TRANSITIONS
        following = table.get((self.state, event))
        if following is None:
            raise LocalProtocolError(f"unit {self.unit.name}: {event!s} while {self.state!s} is not in the table")
        if following is not self.state:
            self.since = time.time()
        self.state = following

    def started(self, pid: int, *, now: float) -> None:
        """Note that a process runs."""
        self.pid, self.started_at = pid, now
        self.starts += 1
        self.on(Event.GATES_OPEN)

    def ended(self, exit_code: int, *, now: float) -> None:
        """Note that the process is gone, and when a service is started again."""
        self.young_deaths = self.young_deaths + 1 if now - self.started_at < YOUNG_S else 1
        delay_s = RESTART_DELAY_S * 2 ** min(self.young_deaths - 1, 10)
        self.pid, self.exit_code = 0, exit_code
        self.wake_at = now + min(delay_s, MAX_RESTART_DELAY_S)
        self.on(Event.ENDED_BADLY if exit_code else Event.ENDED_WELL)

    def report(self) -> dict[str, Any]:
        """Return what `lab status` shows."""
        return {
            "name": self.unit.name,
            "state": str(self.state),
            "pid": self.pid,
            "starts": self.starts,
            "exit_code": self.exit_code,
            "since": self.since,
            "waits_for": [f"{gate.kind} {gate.what}" for gate in self.unit.gates] if self.state == "waiting" else [],
        }


class Supervisor:
    """Runs the units of one host until its channel closes.

    Args:
        units: what to run, in order.
        channel: a socket to the lab's init: JSON lines in (`{"unit", "action"}`), unit reports out.
        spawn: starts a unit and returns its process id.
    """

    def __init__(self, units: Iterable[Unit], channel: socket.socket, spawn: Callable[[Unit], int]) -> None:
        self.units = {unit.name: Running(unit) for unit in units}
        self.channel = channel
        self.spawn = spawn
        self.buffer = b""
        self.was_told: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Serve until the lab's init closes the channel; then the host ends, and with it every process."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(wake_read, selectors.EVENT_READ, "child")
        selector.register(self.channel, selectors.EVENT_READ, "order")
        while True:
            self.reap()
            self.advance()
            self.tell()
            for key, _ in selector.select(self.patience()):
                if key.data == "child":
                    os.read(wake_read, 4096)
                elif not self.take_orders():
                    return

    def patience(self) -> float | None:
        """Return how long to sleep: short while something waits for a file, for ever otherwise."""
        is_pending = any(unit.state in (State.WAITING, State.BACKING_OFF) for unit in self.units.values())
        return TICK_S if is_pending else None

    def reap(self) -> None:
        """Note every process that ended, ours or adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            for running in self.units.values():
                if running.pid == pid:
                    running.ended(code, now=time.monotonic())

    def advance(self) -> None:
        """Start what may start."""
        now = time.monotonic()
        for running in self.units.values():
            if running.state is State.BACKING_OFF and now >= running.wake_at:
                running.on(Event.DELAY_OVER)
            if running.state is State.WAITING and not running.pid and all(map(self.is_open, running.unit.gates)):
                self.launch(running, now)

    def launch(self, running: Running, now: float) -> None:
        """Start a unit; a machine that cannot fork just now is a unit that ended badly, not the end of the host."""
        try:
            running.started(self.spawn(running.unit), now=now)
        except OSError:
            running.started(0, now=now)
            running.ended(CANNOT_START, now=now)

    def is_open(self, gate: Gate) -> bool:
        """Say whether a gate is open."""
        if gate.kind == "file":
            return os.path.exists(gate.what)
        return self.units[gate.what].state is State.DONE

    def tell(self) -> None:
        """Report every unit whose report changed."""
        for name, running in self.units.items():
            report = running.report()
            if self.was_told.get(name) != report:
                self.was_told[name] = report
                self.channel.sendall(json.dumps({"unit": report}).encode() + b"\n")

    def take_orders(self) -> bool:
        """Carry out the orders that arrived; False when the channel is closed."""
        received = self.channel.recv(65536)
        if not received:
            return False
        *lines, self.buffer = (self.buffer + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self.order(self.units[order["unit"]], order["action"])
        return True

    def order(self, running: Running, action: str) -> None:
        """Carry out one order: start, stop, restart, kill, pause or resume."""
        signals = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "resume": signal.SIGCONT}
        if action in ("stop", "stop-now"):
            running.on(Event.STOP)
        if action == "start":
            running.on(Event.START)
        if not running.pid:
            return
        if action in signals:
            os.kill(running.pid, signals[action])
        elif action in ("stop", "restart"):
            os.kill(running.pid, signal.SIGTERM)
        elif action == "stop-now":
            os.kill(running.pid, signal.SIGKILL)
