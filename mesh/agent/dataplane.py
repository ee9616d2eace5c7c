"""What the sidecar needs from its agent besides secrets: a bootstrap on disk, and somebody who asks if it is up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import aiohttp

from mesh.agent.files import write_atomically
from mesh.agent.settings import AgentSettings
from mesh.base.clock import Clock
from mesh.base.patience import pause_s
from mesh.spiffe.id import SpiffeId
from mesh.xds.bootstrap import Bootstrap, write_bootstrap

log = logging.getLogger(__name__)

CALM_POLL_S = 5.0  # while it is ready: a sidecar that dies lets go of its secrets, which is noticed at once
TIMEOUT_S = 2.0
MAX_METRICS_BYTES = 8 * 1024 * 1024


def bootstrap_of(settings: AgentSettings, service: str) -> Bootstrap:
    """Return the values of this host's bootstrap."""
    control_plane = settings.control_plane
    return Bootstrap(
        host=settings.host,
        service=service,
        datacenter=settings.datacenter,
        control_plane_address=str(control_plane.address),
        control_plane_port=control_plane.grpc_port,
        control_plane_id=str(SpiffeId(settings.trust_domain, "/ns/mesh/sa/control-plane")),
        control_plane_name=control_plane.server_name,
        agent_socket=str(settings.socket),
        admin_address=str(settings.sidecar_admin.address),
        admin_port=settings.sidecar_admin.port,
    )


async def write_bootstrap_file(settings: AgentSettings, service: str) -> None:
    """Write the bootstrap; it holds no secret.

    Raises:
        OSError: the directory is not ours to write.
    """
    text = write_bootstrap(bootstrap_of(settings, service))
    await asyncio.to_thread(write_atomically, settings.bootstrap_file, text)


class SidecarWatch:
    """Asks the sidecar's admin port whether it is ready, and for its metrics."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._clock = clock
        self._base = f"http://{settings.sidecar_admin.address}:{settings.sidecar_admin.port}"
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Ask now: something happened that a sidecar's death may be the reason of."""
        self._wake.set()

    async def run(self, session: aiohttp.ClientSession, tell: Callable[[str], None]) -> None:
        """Call `tell` with the reason why the sidecar is not ready, or with the empty string, until cancelled."""
        unready_since: float | None = None
        while True:
            self._wake.clear()
            reason = await self._ask(session)
            tell(reason)
            now = self._clock.monotonic()
            if not reason:
                unready_since = None
            elif unready_since is None:
                unready_since = now
            await self._woken_within(CALM_POLL_S if unready_since is None else pause_s(now - unready_since))

    async def _woken_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def metrics(self, session: aiohttp.ClientSession) -> str:
        """Return the sidecar's metrics; empty when it does not answer."""
        try:
            async with asyncio.timeout(TIMEOUT_S), session.get(f"{self._base}/stats/prometheus") as response:
                if response.status == 200:
                    return (await response.content.read(MAX_METRICS_BYTES)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("the sidecar's metrics are missing", extra={"reason": str(error) or type(error).__name__})
        return ""

    async def _ask(self, session: aiohttp.ClientSession) -> str:
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                session.get(f"{self._base}/ready", allow_redirects=False) as response,
            ):
                said = (await response.content.read(500)).decode("utf-8", "replace").strip()
                return "" if response.status == 200 else f"its /ready says {response.status} {said}"
        except TimeoutError:
            return f"its admin port does not answer within {TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"its admin port does not answer: {error or type(error).__name__}"
