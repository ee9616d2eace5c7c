"""gRPC's own xDS client against our control plane: a target `xds:///payment-service`, no sidecar, mutual TLS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.api import rpc
from mesh.api.client import MeshClient
from mesh.spiffe.svid import X509Svid
from tests.fakes.control_plane_process import ControlPlaneProcess, until, until_ready

pytestmark = pytest.mark.slow

CALLER, SERVICE = "caller-service", "payment-service"


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    with ControlPlaneProcess(tmp_path) as process:
        yield process


@dataclass(frozen=True, slots=True)
class Mesh:
    """A control plane that answers, its operator, and its trust bundle."""

    control_plane: ControlPlaneProcess
    operator: MeshClient
    roots: bytes

    async def join(self, host: str, service: str) -> X509Svid:
        """Return the certificate of a host's service."""
        token = (await self.operator.create_token(service, host, ttl_s=60))["token"]
        return await self.control_plane.join(token, host, service, self.roots)

    async def register(self, svid: X509Svid, service: str, port: int) -> None:
        """Register an instance; without a check it is well."""
        message = rpc.ServiceMessage(name=service, port=port)
        async with self.control_plane.channel(svid, self.roots) as channel:
            await rpc.REGISTER.on(channel)(rpc.RegisterRequest(service=message))

    async def deregister(self, svid: X509Svid, instance: str) -> None:
        """Take an instance away."""
        async with self.control_plane.channel(svid, self.roots) as channel:
            await rpc.DEREGISTER.on(channel)(rpc.DeregisterRequest(instance_id=instance))


class Server:
    """A gRPC server without a sidecar: it proves who it is, asks who calls, and tells its own name."""

    def __init__(self, name: str, svid: X509Svid, roots: bytes) -> None:
        self.name, self.callers = name, set[str]()
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("meshyard.test.Echo", {"WhoAreYou": handler}),)
        )
        credentials = grpc.ssl_server_credentials([(svid.key_pem(), svid.chain_pem())], roots, require_client_auth=True)
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)

    async def __aenter__(self) -> Server:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        names = context.auth_context().get("x509_subject_alternative_name", [])
        self.callers |= {name.decode() for name in names}
        return self.name.encode()


class Caller:
    """The program that calls, as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self) -> str:
        """Return what came of one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return (await self._process.stdout.readline()).decode().strip()

    async def calls(self, count: int) -> Counter[str]:
        """Return what came of several."""
        return Counter([await self.call() for _ in range(count)])


@asynccontextmanager
async def calling(mesh: Mesh, svid: X509Svid, node: str, folder: Path, target: str) -> AsyncIterator[Caller]:
    """Run the program while the block runs."""
    environment = os.environ | {"GRPC_XDS_BOOTSTRAP": str(bootstrap(mesh, svid, node, folder))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.grpc_caller", target),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.wait()


def bootstrap(mesh: Mesh, svid: X509Svid, node: str, folder: Path) -> Path:
    """Write what gRPC's client has to know; its shape is gRPC's own."""
    files = {
        "certificate_file": svid.chain_pem(),
        "private_key_file": svid.key_pem(),
        "ca_certificate_file": mesh.roots,
    }
    paths = {}
    for name, content in files.items():
        path = folder / f"{node.replace('/', '.')}.{name}"
        path.write_bytes(content)
        paths[name] = str(path)
    made = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{mesh.control_plane.grpc_port}",
                "channel_creds": [{"type": "tls", "config": paths}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": node, "cluster": node.partition("/")[2]},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": paths}},
    }
    path = folder / "grpc-bootstrap.json"
    path.write_text(json.dumps(made))
    return path


def talk(control_plane: ControlPlaneProcess, scene: Callable[[Mesh], Awaitable[None]]) -> None:
    """Run a scene on a control plane that is ready, with an end to it."""

    async def bounded() -> None:
        async with asyncio.timeout(180), control_plane.client() as operator:
            await until_ready(operator)
            roots = "".join((await operator.ca_roots())["roots"]).encode()
            await scene(Mesh(control_plane, operator, roots))

    asyncio.run(bounded())


@asynccontextmanager
async def instances(mesh: Mesh, *hosts: str, service: str = SERVICE) -> AsyncIterator[list[tuple[Server, X509Svid]]]:
    """Run a registered server for each host while the block runs."""
    async with AsyncExitStack() as stack:
        made = []
        for host in hosts:
            svid = await mesh.join(host, service)
            server = await stack.enter_async_context(Server(host, svid, mesh.roots))
            await mesh.register(svid, service, server.port)
            made.append((server, svid))
        yield made


async def caller_of(mesh: Mesh) -> X509Svid:
    """Return the certificate of a registered caller: whoever is not registered is told nothing."""
    svid = await mesh.join("caller-1", CALLER)
    await mesh.register(svid, CALLER, 9000)
    return svid


def test_a_call_by_name_reaches_every_instance_and_both_sides_prove_who_they_are(
    control_plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    async def scene(mesh: Mesh) -> None:
        svid = await caller_of(mesh)
        async with (
            instances(mesh, "payment-1", "payment-2") as made,
            calling(mesh, svid, f"caller-1/{CALLER}", tmp_path, f"xds:///{SERVICE}") as caller,
        ):

            async def both() -> bool | None:
                return (await caller.calls(4)).keys() >= {"payment-1", "payment-2"} or None

            await until(both)
            assert set(await caller.calls(20)) == {"payment-1", "payment-2"}
            for server, _ in made:
                assert [name for name in server.callers if name.startswith("spiffe:")] == [str(svid.spiffe_id)]

    talk(control_plane, scene)


def test_instances_that_come_and_go_are_followed_on_the_open_stream(
    control_plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    async def scene(mesh: Mesh) -> None:
        svid = await caller_of(mesh)
        async with (
            instances(mesh, "payment-1") as first,
            calling(mesh, svid, f"caller-1/{CALLER}", tmp_path, f"xds:///{SERVICE}") as caller,
        ):
            assert set(await caller.calls(4)) == {"payment-1"}
            async with instances(mesh, "payment-2"):

                async def second() -> bool | None:
                    return await caller.call() == "payment-2" or None

                await until(second)
                await mesh.deregister(first[0][1], SERVICE)

                async def only_second() -> bool | None:
                    return set(await caller.calls(6)) == {"payment-2"} or None

                await until(only_second)

    talk(control_plane, scene)


def test_a_server_with_another_identity_is_refused(control_plane: ControlPlaneProcess, tmp_path: Path) -> None:
    async def scene(mesh: Mesh) -> None:
        svid = await caller_of(mesh)
        owner = await mesh.join("payment-1", SERVICE)
        thief = await mesh.join("ledger-1", "ledger-service")
        async with Server("ledger-1", thief, mesh.roots) as server:
            await mesh.register(owner, SERVICE, server.port)
            async with calling(mesh, svid, f"caller-1/{CALLER}", tmp_path, f"xds:///{SERVICE}") as caller:
                assert (await caller.call()).startswith("UNAVAILABLE")
                assert not server.callers

    talk(control_plane, scene)


def test_a_client_that_says_to_be_somebody_else_gets_nothing(
    control_plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    async def scene(mesh: Mesh) -> None:
        svid = await caller_of(mesh)
        async with (
            instances(mesh, "payment-1") as made,
            calling(mesh, svid, f"payment-1/{SERVICE}", tmp_path, f"xds:///{SERVICE}") as caller,
        ):
            assert (await caller.call()).startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED"))
            assert not made[0][0].callers

    talk(control_plane, scene)
