"""One request's wait for a connection, and the two whom the pool deals with for it: who waits, and who dials."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mesh.base.clock import Clock
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.upstream import UpstreamHttp
from mesh.proxy.policy.flags import Failure
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.tables.model import Cluster, Endpoint

Key = tuple[str, tuple[str, int]]  # cluster and endpoint


class Dial(Protocol):
    """What opens a connection: `connector.connect`."""

    async def __call__(
        self, cluster: Cluster, endpoint: Endpoint, app: asyncio.Protocol, *, identity: Identity | None, clock: Clock
    ) -> None: ...


class Waiter(Protocol):
    """Who wants a connection: `drive.Drive`."""

    def on_connection(self, connection: UpstreamHttp) -> None: ...
    def on_connect_failed(self, failure: Failure, reason: str) -> None: ...


class Wish:
    """One request's wait for a connection. `waiter` None: it went away."""

    __slots__ = ("cluster", "endpoint", "runtime", "waiter")

    def __init__(self, waiter: Waiter, cluster: Cluster, endpoint: Endpoint, runtime: ClusterRuntime) -> None:
        self.waiter: Waiter | None = waiter
        self.cluster = cluster
        self.endpoint = endpoint
        self.runtime = runtime

    @property
    def key(self) -> Key:
        """Return where the connection is to lead."""
        return self.cluster.name, self.endpoint.key
