"""Connections to instances that wait for the next request: last in, first out, per endpoint and identity.

The newest is reused first, so that those a quiet hour leaves over grow old together and go. A connection made with an
older identity, to a peer whose certificate has ended, or to an endpoint that left, is never handed out. The cluster's
breaker bounds what is open (`connections`) and who waits (`pending`): with no room for another connection a request
waits for one to come back. `Dials` bounds how many are being made at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from mesh.base.clock import Clock
from mesh.base.errors import UpstreamError
from mesh.proxy.connection.connector import TIMED_OUT, connect
from mesh.proxy.connection.dials import Dials
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.upstream import UpstreamHttp
from mesh.proxy.connection.wish import Dial, Key, Waiter, Wish
from mesh.proxy.policy.flags import Failure
from mesh.proxy.policy.runtime import ClusterRuntime, Runtimes
from mesh.proxy.tables.model import Cluster, Endpoint

IDLE_TIMEOUT_S = 300.0  # well below the hour after which a sidecar closes an idle inbound connection
LOCAL_IDLE_TIMEOUT_S = 4.0  # below the shortest keep-alive that application servers have by habit (5 s)


class Pool:
    """All upstream HTTP connections of the proxy.

    Args:
        runtimes: for the breakers.
        identity: gives the current identity.
        spawn: runs a coroutine in the shell's task group.
        clock: for certificates and idle times.
        dial: opens a connection.
    """

    def __init__(
        self,
        runtimes: Runtimes,
        identity: Callable[[], Identity | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Clock,
        dial: Dial = connect,
    ) -> None:
        self._dial = dial
        self._runtimes = runtimes
        self._identity = identity
        self._spawn = spawn
        self._clock = clock
        self._idle: dict[Key, list[UpstreamHttp]] = {}
        self._queues: dict[str, deque[Wish]] = {}
        self._wishes: dict[int, Wish] = {}
        self._dials: Dials[Key, Wish] = Dials(lambda wish: wish.waiter is not None)
        self._open: dict[UpstreamHttp, ClusterRuntime] = {}
        self.opened = 0  # ever, for the statistics
        self.failed = 0

    # ------------------------------------------------------------------------------- from requests

    def acquire(self, cluster: Cluster, endpoint: Endpoint, waiter: Waiter) -> UpstreamHttp | None:
        """Return an idle connection, or None: the waiter will be told."""
        idle = self._idle.get((cluster.name, endpoint.key))
        while idle:
            connection = idle.pop()
            if connection.is_usable and self._is_current(connection, cluster):
                return connection
            connection.close()
        runtime = self._runtimes.get(cluster.name)
        if runtime is None:
            waiter.on_connect_failed(Failure.NO_CLUSTER, "the cluster was removed")
        elif not runtime.breaker.pending.acquire():
            waiter.on_connect_failed(Failure.OVERFLOW, runtime.breaker.pending.explain())
        else:
            wish = self._wishes[id(waiter)] = Wish(waiter, cluster, endpoint, runtime)
            self._open_or_queue(wish)
        return None

    def forget(self, waiter: Waiter) -> None:
        """The waiter went away. A connection that is being made for it will go to the pool."""
        wish = self._wishes.pop(id(waiter), None)
        if wish is not None:
            wish.waiter = None
            wish.runtime.breaker.pending.release()

    # ------------------------------------------------------------------------------- from connections

    def released(self, connection: UpstreamHttp) -> None:
        """Take a connection back; a request that waits gets it at once."""
        runtime = self._open.get(connection)
        if runtime is None or not self._is_current(connection, runtime.cluster):
            connection.close()
            return
        key = (connection.cluster, connection.endpoint.key)
        next_in_line = self._dials.next(key)
        if next_in_line is not None:
            self._grant(next_in_line, connection)
            return
        queue = self._queues.get(connection.cluster)
        while queue:
            wish = queue[0]
            if wish.waiter is None:
                queue.popleft()
            elif wish.endpoint.key == connection.endpoint.key:
                queue.popleft()
                self._grant(wish, connection)
                return
            else:
                connection.close()  # makes room for the one that waits: see `closed`
                return
        connection.idle_since = self._clock.monotonic()
        self._idle.setdefault(key, []).append(connection)

    def closed(self, connection: UpstreamHttp) -> None:
        """Forget a connection that ended; its place may go to one that waits."""
        runtime = self._open.pop(connection, None)
        if runtime is None:
            return
        runtime.breaker.connections.release()
        idle = self._idle.get((connection.cluster, connection.endpoint.key))
        if idle and connection in idle:
            idle.remove(connection)
        self._serve_queue(connection.cluster)

    # ------------------------------------------------------------------------------- from the shell

    def drop_endpoints(self, keys: Iterable[tuple[str, int]]) -> None:
        """Close idle connections to endpoints that left the mesh; those in use close when they come back."""
        gone = frozenset(keys)
        if not gone:
            return
        self._close_idle(lambda connection: connection.endpoint.key in gone)

    def sweep(self, now: float) -> None:
        """Close what is idle for too long, or was made with an older identity."""
        identity = self._identity()
        generation = 0 if identity is None else identity.generation

        def is_over(connection: UpstreamHttp) -> bool:
            if not connection.is_usable or (connection.generation and connection.generation != generation):
                return True
            limit_s = IDLE_TIMEOUT_S if connection.generation else LOCAL_IDLE_TIMEOUT_S
            return now - connection.idle_since > limit_s

        self._close_idle(is_over)

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._open):
            connection.abort()

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return (open, idle) per cluster, for display."""
        counts: dict[str, list[int]] = {}
        for connection in self._open:
            counts.setdefault(connection.cluster, [0, 0])[0] += 1
        for (cluster, _), idle in self._idle.items():
            counts.setdefault(cluster, [0, 0])[1] += len(idle)
        return {cluster: (pair[0], pair[1]) for cluster, pair in counts.items()}

    # ------------------------------------------------------------------------------- inside

    def _is_current(self, connection: UpstreamHttp, cluster: Cluster) -> bool:
        """Say whether a connection still proves who we are, and still goes to a member of the cluster."""
        identity = self._identity()
        if cluster.tls is None:
            is_current = connection.generation == 0
        else:
            is_current = identity is not None and connection.generation == identity.generation
            is_current = is_current and connection.peer in cluster.tls.expected_ids
            is_current = is_current and self._clock.epoch_s() < connection.not_after_epoch_s
        runtime = self._runtimes.get(cluster.name)
        return is_current and runtime is not None and connection.endpoint.key in runtime.stats

    def _open_or_queue(self, wish: Wish) -> None:
        if self._dials.is_full(wish.key):
            self._dials.line_up(wish.key, wish)
            return
        if wish.runtime.breaker.connections.acquire():
            self._start(wish)
            return
        self._queues.setdefault(wish.cluster.name, deque()).append(wish)
        for (cluster, _), idle in self._idle.items():
            if cluster == wish.cluster.name and idle:
                idle.pop(0).close()  # the oldest of another endpoint makes room
                return

    def _start(self, wish: Wish) -> None:
        self._dials.begin(wish.key)
        self._spawn(self._connect(wish))

    async def _connect(self, wish: Wish) -> None:
        identity, generation = self._identity(), self._generation(wish.cluster)
        connection = UpstreamHttp(self, wish.cluster.name, wish.endpoint, generation)
        self._open[connection] = wish.runtime
        self.opened += 1
        try:
            try:
                await self._dial(wish.cluster, wish.endpoint, connection, identity=identity, clock=self._clock)
            finally:  # whatever happens, the place in the line behind it must not be lost
                self._dials.end(wish.key)
        except UpstreamError as error:
            self.failed += 1
            self.closed(connection)
            failure = Failure.CONNECT_TIMEOUT if str(error) == TIMED_OUT else Failure.CONNECT_FAILURE
            # As in Envoy those who wait share the failure: nothing of them was sent, and another endpoint may do.
            for refused in (wish, *self._dials.send_away(wish.key)):
                self._refuse(refused, failure, str(error))
        else:
            # Secrets that changed during the handshake. Other roots may not prove the peer. Under the same ones the
            # wish is granted, or quick rotations would leave it without end; the pool does not keep the connection.
            is_proven = generation == self._generation(wish.cluster) or self._has_roots_of(identity)
            if not is_proven:
                connection.close()
                if wish.waiter is not None:
                    self._open_or_queue(wish)
            self._serve_line(wish.key)
            if is_proven:
                self._grant(wish, connection)

    def _has_roots_of(self, former: Identity | None) -> bool:
        """Say whether what an identity of before believes is still believed."""
        present = self._identity()
        return former is not None and present is not None and former.bundle == present.bundle

    def _generation(self, cluster: Cluster) -> int:
        """Return what a connection to the cluster is to be made with; 0 without TLS, or without an identity."""
        identity = self._identity() if cluster.tls is not None else None
        return 0 if identity is None else identity.generation

    def _grant(self, wish: Wish, connection: UpstreamHttp) -> None:
        waiter = self._take(wish)
        if not connection.is_usable:
            if waiter is not None:
                waiter.on_connect_failed(Failure.CONNECT_FAILURE, "closed by the peer after the handshake")
        elif waiter is None:
            self.released(connection)
        else:
            waiter.on_connection(connection)

    def _refuse(self, wish: Wish, failure: Failure, reason: str) -> None:
        waiter = self._take(wish)
        if waiter is not None:
            waiter.on_connect_failed(failure, reason)

    def _take(self, wish: Wish) -> Waiter | None:
        """End a wait; None when nobody waits any more."""
        waiter = wish.waiter
        if waiter is not None:
            self.forget(waiter)
        return waiter

    def _serve_line(self, key: Key) -> None:
        while not self._dials.is_full(key):
            wish = self._dials.next(key)
            if wish is None:
                return
            self._open_or_queue(wish)

    def _serve_queue(self, cluster: str) -> None:
        queue = self._queues.get(cluster)
        while queue:
            wish = queue.popleft()
            if wish.waiter is not None:
                if wish.runtime.breaker.connections.acquire():
                    self._start(wish)
                else:
                    queue.appendleft(wish)
                return

    def _close_idle(self, is_over: Callable[[UpstreamHttp], bool]) -> None:
        for key, idle in list(self._idle.items()):
            for connection in [one for one in idle if is_over(one)]:
                idle.remove(connection)
                connection.close()
            if not idle:
                self._idle.pop(key, None)
