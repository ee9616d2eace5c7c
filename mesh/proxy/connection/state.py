"""What all connections of the proxy share, and the one place where it changes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Protocol

from mesh.base.clock import Clock
from mesh.proxy.connection.connector import connect
from mesh.proxy.connection.pool import Pool
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.wish import Dial
from mesh.proxy.filters.exchange import ConnectionFacts, Ending, Request, Surroundings
from mesh.proxy.policy.outlier import Verdict
from mesh.proxy.policy.runtime import Runtimes
from mesh.proxy.policy.timers import Timer, TimerWheel
from mesh.proxy.tables.model import EMPTY, HttpChain, ProxyTables, TcpChain

log = logging.getLogger("mesh.sidecar")

Later = Callable[[float, Callable[[], None]], object]


def _loop_later(delay_s: float, call: Callable[[], None]) -> object:
    loop = asyncio.get_running_loop()
    return loop.call_later(delay_s, call) if delay_s else loop.call_soon(call)


class Connection(Protocol):
    """A downstream connection, as the rest of the proxy sees it."""

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is under way."""
        ...

    def on_tables(self) -> None:
        """New tables or a new identity: is it still allowed?"""
        ...

    def check(self, now: float) -> None:
        """Called about twice a second: idle too long, head too slow, certificate over?"""
        ...

    def drain(self) -> None:
        """Take nothing new; end when what is under way has ended."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class Recorder(Protocol):
    """Access log and metrics: `shell.report.Report`."""

    def request(self, request: Request, ending: Ending) -> None: ...
    def malformed(self, facts: ConnectionFacts, chain: HttpChain | None, ending: Ending) -> None: ...
    def stream(self, chain: TcpChain, facts: ConnectionFacts, ending: StreamEnding) -> None: ...
    def refused(self, listener: str, reason: str, said: str) -> None: ...
    def ejection(self, cluster: str, verdict: Verdict) -> None: ...


class StreamEnding:
    """How a TCP stream ended."""

    __slots__ = ("bytes_received", "bytes_sent", "cluster", "details", "duration_s", "flag", "rule", "started_at",
                 "upstream_host", "upstream_peer")  # fmt: skip

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.cluster = self.upstream_host = self.upstream_peer = self.rule = self.details = self.flag = ""
        self.bytes_received = self.bytes_sent = 0
        self.duration_s = 0.0


class ProxyState:
    """The proxy's living state; one writer, the event loop.

    Args:
        node: the xDS node id.
        service: the service beside this proxy.
        recorder: takes what ended.
        spawn: runs a coroutine in the shell's task group.
        clock: monotonic for timers, UTC for certificates.
        rng: jitter, ids, balancing.
        later: calls a function after so many seconds; the event loop's, unless a test has none.
        dial: opens upstream connections; likewise.
    """

    def __init__(
        self,
        node: str,
        service: str,
        *,
        recorder: Recorder,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Clock,
        rng: Random,
        later: Later = _loop_later,
        dial: Dial = connect,
    ) -> None:
        self.later = later
        self.dial = dial
        self.clock = clock
        self.now = clock.monotonic
        self.spawn = spawn
        self.recorder = recorder
        self.tables: ProxyTables = EMPTY
        self.identity: Identity | None = None
        self.runtimes = Runtimes(rng)
        self.pool = Pool(self.runtimes, lambda: self.identity, spawn, clock, dial)
        self.wheel: TimerWheel[Callable[[], None]] = TimerWheel(now=self.now())
        self.around = Surroundings(node, service, self.runtimes, rng, recorder.request, recorder.ejection)
        self.connections: set[Connection] = set()
        self.is_draining = False
        self._is_ticking = False

    def apply_tables(self, tables: ProxyTables) -> None:
        """Swap the tables; connections that are no longer allowed end, idle ones to endpoints that left close."""
        self.tables = tables
        self.pool.drop_endpoints(self.runtimes.apply(tables, now=self.now()))
        self._tell_connections()

    def apply_identity(self, identity: Identity) -> None:
        """Prove ourselves with another key from now on; older idle connections are replaced as they are needed."""
        self.identity = identity
        self.pool.sweep(self.now())
        self._tell_connections()

    def arm(self, deadline: float, call: Callable[[], None]) -> Timer[Callable[[], None]]:
        """Have `call` called at a deadline (monotonic seconds), at most a tick late."""
        if not self._is_ticking:
            self._is_ticking = True
            self.later(self.wheel.tick_s, self._turn)
        return self.wheel.set(deadline, call)

    def sweep(self) -> None:
        """Do the housekeeping of about twice a second."""
        now = self.now()
        for connection in list(self.connections):
            connection.check(now)
        self.pool.sweep(now)
        for cluster, endpoint in self.runtimes.tick(now=now):
            log.info("endpoint returned from ejection", extra={"cluster": cluster, "endpoint": f"{endpoint}"})

    def drain(self) -> None:
        """Begin to end: every connection takes its last request."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.drain()

    def _tell_connections(self) -> None:
        for connection in list(self.connections):
            connection.on_tables()

    def _turn(self) -> None:
        """Turn the wheel; it stands still while no timer is armed."""
        try:
            self._fire(deque(self.wheel.advance(self.now())))
        finally:
            self._is_ticking = self.wheel.armed > 0
            if self._is_ticking:
                self.later(self.wheel.tick_s, self._turn)

    def _fire(self, due: deque[Callable[[], None]]) -> None:
        """Call what is due. One that fails is the event loop's to log; the others are called all the same."""
        try:
            while due:
                due.popleft()()
        finally:
            if due:
                self.later(0, lambda: self._fire(due))
