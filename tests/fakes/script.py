"""The whole data path as a conversation: no socket, no event loop, time passes when the test says so.

    script = Script(outbound(cluster))
    caller = script.caller()
    caller.says(b"GET / HTTP/1.1\r\nhost: payment\r\n\r\n")
    upstream = script.dial().connects()
    upstream.resets()
    second = script.dial().connects()                # a retry, after `script.passes(...)`
    second.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert caller.heard().endswith(b"ok")

What is real: connections, driver, filters, pool, policies. What is not: wires, dialling, the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from mesh.base.clock import Clock
from mesh.base.errors import UpstreamError
from mesh.proxy.connection.downstream import DownstreamHttp
from mesh.proxy.connection.facts import facts_of
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.tcp import TcpProxy
from mesh.proxy.filters.exchange import ConnectionFacts
from mesh.proxy.shell.report import RecordMaker, Report
from mesh.proxy.tables.model import Cluster, Endpoint, FilterChain, HttpChain, ProxyTables, TcpChain
from mesh.telemetry.metrics import Metrics

TICK_S = 0.005


class FakeClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.epoch = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self.now

    def utcnow(self) -> datetime:
        """Return the wall clock, which moves with the other."""
        return self.epoch + timedelta(seconds=self.now - 1000.0)

    def epoch_s(self) -> float:
        """Return the same as seconds since 1970."""
        return self.epoch.timestamp() + self.now - 1000.0


class FakeWire:
    """The transport of one connection; the test is at its other end."""

    def __init__(self, script: Script, app: asyncio.Protocol, peer: Peer | None = None) -> None:
        self._script = script
        self._app = app
        self._peer = peer
        self._written = b""
        self.is_open = True
        self.is_reset = False  # by us
        self.has_eof = False  # we said that we have no more to say
        self.is_paused = False
        self._is_full = self._is_choking = False
        self._unread: Callable[[], None] | None = None  # the end that waits for the other end to read

    # ---- what the test does

    def says(self, data: bytes) -> None:
        """Bytes arrive."""
        assert not self.is_paused, "a paused wire brings nothing"
        self._app.data_received(data)
        self._script.settle()

    def ends(self) -> None:
        """The other end sends a FIN."""
        if not self._app.eof_received():
            self.close()
        self._script.settle()

    def resets(self) -> None:
        """The other end sends an RST."""
        self.is_open = False
        self._app.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
        self._script.settle()

    def fills(self) -> None:
        """The other end stopped reading."""
        self._is_full = True
        self._app.pause_writing()

    def chokes(self) -> None:
        """The other end stops reading; the next write will find no room."""
        self._is_choking = True

    def drains(self) -> None:
        """It reads again."""
        self._is_full = False
        self._app.resume_writing()
        if self._unread is not None:
            self._unread()
        self._script.settle()

    def heard(self) -> bytes:
        """Return what was written since the last look."""
        written, self._written = self._written, b""
        return written

    # ---- what the code under test does: a Wire

    def write(self, data: bytes) -> None:
        assert self.is_open, "writing to a closed wire"
        self._written += data
        if self._is_choking:
            self._is_choking = False
            self.fills()

    def write_eof(self) -> None:
        self.has_eof = True

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self.is_reset = self.is_reset or self.is_open or self._unread is not None
        self._is_full = False
        if self._unread is not None:
            self._unread()
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.is_open:
            self.is_open = False
            if self._is_full:  # close waits until what was written is read
                self._unread = lambda: self._lost(error)
            else:
                self._lost(error)

    def _lost(self, error: Exception | None) -> None:
        self._unread = None
        self._script.soon(lambda: self._app.connection_lost(error))

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peer" else default


class Dialling:
    """A connection that is being opened; an awaitable that only the test completes."""

    def __init__(self, script: Script, cluster: Cluster, endpoint: Endpoint, app: asyncio.Protocol) -> None:
        self._script = script
        self._app = app
        self.cluster = cluster
        self.endpoint = endpoint
        self.coro: Coroutine[Any, Any, None] | None = None

    def __await__(self) -> Generator[Dialling, None, None]:
        yield self

    @property
    def host(self) -> str:
        """Return the name of the host that is dialled."""
        return self.endpoint.host

    def connects(self, peer: Peer | None = None) -> FakeWire:
        """Succeed; with TLS the peer is proven."""
        wire = FakeWire(self._script, self._app, peer)
        self._app.connection_made(wire)  # type: ignore[arg-type]  # a Wire is all that is used
        assert self.coro is not None
        self._script.run(self.coro, None)
        return wire

    def fails(self, reason: str = "connection refused") -> None:
        """Fail; `connection timeout` is a timeout."""
        assert self.coro is not None
        self._script.run(self.coro, UpstreamError("UF", reason))


class Script:
    """One sidecar's data path."""

    def __init__(self, tables: ProxyTables, *, service: str = "order-service", seed: int = 1) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self._records: list[RecordMaker] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.dials: list[Dialling] = []
        report = Report(f"order-1/{service}", service, self.metrics, self._records.append)
        self.state = ProxyState(
            f"order-1/{service}",
            service,
            recorder=report,
            spawn=lambda work: self.run(work, None),
            clock=self.clock,
            rng=Random(seed),
            later=self._call_later,
            dial=self._dial,
        )
        self.state.apply_tables(tables)

    def caller(self, peer: Peer | None = None) -> FakeWire:
        """Connect to the only chain of the only listener."""
        app: asyncio.Protocol
        if isinstance(self._chain().app, HttpChain):
            app = DownstreamHttp(self.state, self._http, self._facts)
        else:
            app = TcpProxy(self.state, self._tcp, self._facts)
        wire = FakeWire(self, app, peer)
        app.connection_made(wire)
        self.settle()
        return wire

    def dial(self) -> Dialling:
        """Return the only connection that is being opened."""
        assert len(self.dials) == 1, f"{len(self.dials)} are being dialled"
        return self.dials.pop()

    def passes(self, seconds: float) -> None:
        """Let time pass, tick by tick; the housekeeping runs every half second as in the sidecar."""
        until = self.clock.now + seconds
        next_sweep = self.clock.now + 0.5
        while self.clock.now < until - 1e-9:
            self.clock.now = min(until, self.clock.now + (TICK_S if seconds <= 5 else 0.1))
            self.settle()
            if self.clock.now >= next_sweep:
                next_sweep += 0.5
                self.state.sweep()
                self.settle()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the access log."""
        return [make() for make in self._records]

    def soon(self, call: Callable[[], None]) -> None:
        """Call when the present step is over."""
        self._call_later(0.0, call)

    def settle(self) -> None:
        """Do all that is due now."""
        while due := [one for one in self._later if one[0] <= self.clock.now + 1e-9]:
            self._later = [one for one in self._later if one[0] > self.clock.now + 1e-9]
            for _, call in due:
                call()

    def run(self, work: Coroutine[Any, Any, None], error: Exception | None) -> None:
        """Drive a coroutine until it dials or ends."""
        try:
            dialling = work.throw(error) if error is not None else work.send(None)
        except StopIteration:
            self.settle()
            return
        assert isinstance(dialling, Dialling)
        dialling.coro = work
        self.dials.append(dialling)
        self.settle()

    async def _dial(
        self, cluster: Cluster, endpoint: Endpoint, app: asyncio.Protocol, *, identity: Identity | None, clock: Clock
    ) -> None:
        await Dialling(self, cluster, endpoint, app)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._later.append((self.clock.now + delay_s, call))

    def _chain(self) -> FilterChain:
        (listener,) = self.state.tables.listeners.values()
        (chain,) = listener.by_address.values()
        return chain

    def _http(self) -> HttpChain | None:
        if not self.state.tables.listeners:
            return None
        app = self._chain().app
        return app if isinstance(app, HttpChain) else None

    def _tcp(self) -> TcpChain | None:
        if not self.state.tables.listeners:
            return None
        app = self._chain().app
        return app if isinstance(app, TcpChain) else None

    def _facts(self, peer: Peer | None) -> ConnectionFacts:
        return facts_of(self.state.identity, peer, "10.0.0.1:5", "240.0.0.9:80")
