"""Tell the control plane how the service is: a change at once, a heartbeat in its silence, everything on a new stream.

What is not told yet is kept as the latest status per check, never as a queue: a control plane that was away for an
hour wants to know how things are, not how they went.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from grpc import aio

from mesh.api import rpc
from mesh.config.entries import ServiceDefinition

log = logging.getLogger(__name__)

HEARTBEAT_S = 3.0  # three of them fit into the time after which the control plane takes us for dead
CALL_TIMEOUT_S = 10.0


class Reports:
    """The latest status of each check, with a number that grows with each change."""

    def __init__(self) -> None:
        self._statuses: dict[str, tuple[int, str, str]] = {}
        self._version = 0
        self._changed = asyncio.Event()

    def put(self, check_id: str, status: str, output: str) -> None:
        """Note a change and wake the streams."""
        self._version += 1
        self._statuses[check_id] = (self._version, status, output)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def since(self, version: int) -> tuple[int, list[tuple[str, str, str]]]:
        """Return the present version, and check id, status and output of what changed after `version`."""
        news = [(check, status, output) for check, (at, status, output) in self._statuses.items() if at > version]
        return self._version, news

    async def wait(self, version: int, timeout_s: float) -> None:
        """Return when there is something newer than `version`, or after `timeout_s`."""
        if self._version > version:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return


def register_request(service: ServiceDefinition) -> Any:
    """Return how the service is announced; address and host come from the connection, not from us."""
    checks = [rpc.CheckMessage(id=check.id, name=check.name, kind=check.kind.value) for check in service.checks]
    return rpc.RegisterRequest(
        service=rpc.ServiceMessage(
            name=service.name,
            id=instance_id(service),
            port=service.port,
            tags=service.tags,
            meta=service.meta,
            checks=checks,
        )
    )


def instance_id(service: ServiceDefinition) -> str:
    """Return the instance's id on this host; by default the service's name, as Consul has it."""
    return service.id or service.name


class Reporter:
    """Registers the service and reports its checks over one stream; a conversation for `keep_talking`."""

    def __init__(self, service: ServiceDefinition, reports: Reports, *, registered: Callable[[str], None]) -> None:
        self._service = service
        self._reports = reports
        self._registered = registered

    async def converse(self, channel: aio.Channel, established: asyncio.Event) -> None:
        """Register, then report until the stream breaks.

        Registering again is how a control plane that lost its memory learns of us; for one that did not, nothing
        changes.
        """
        answer = await rpc.REGISTER.on(channel)(register_request(self._service), timeout=CALL_TIMEOUT_S)
        self._registered(answer.virtual_ip)
        call = rpc.REPORT.on(channel)()
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(call))
                async for _ in call:
                    established.set()
                writer.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors  # reading and writing break together, for one reason
        finally:
            call.cancel()

    async def _write(self, call: Any) -> None:
        instance, version = instance_id(self._service), 0
        await call.write(rpc.CheckReport(instance_id=instance))
        while True:
            version, news = self._reports.since(version)
            for check_id, status, output in news:
                report = rpc.CheckReport(instance_id=instance, check_id=check_id, status=status, output=output)
                await call.write(report)
            if not news:
                await call.write(rpc.CheckReport(instance_id=instance))
            await self._reports.wait(version, HEARTBEAT_S)


async def deregister(channel: aio.Channel, service: ServiceDefinition) -> None:
    """Take the service out, so that nobody has to wait for a heartbeat to fail."""
    request = rpc.DeregisterRequest(instance_id=instance_id(service))
    try:
        await rpc.DEREGISTER.on(channel)(request, timeout=CALL_TIMEOUT_S)
    except aio.AioRpcError as error:
        log.warning(
            "the service could not be deregistered", extra={"reason": f"{error.code().name}: {error.details()}"}
        )
