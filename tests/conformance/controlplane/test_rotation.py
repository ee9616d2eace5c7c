"""The root's rotation over real sockets: a control plane that is killed at any moment, and callers of both roots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.api import rpc
from mesh.api.client import ApiError, MeshClient, UnreachableError
from mesh.ca.authority import new_key
from mesh.ca.csr import make_csr
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.svid import X509Svid
from tests.fakes.control_plane_process import ControlPlaneProcess, until, until_ready

pytestmark = pytest.mark.slow

DOMAIN = "dominos.internal"


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    with ControlPlaneProcess(tmp_path) as process:
        yield process


def talk(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene with an end to it."""

    async def bounded() -> None:
        async with asyncio.timeout(180):
            await scene()

    asyncio.run(bounded())


async def joined(control_plane: ControlPlaneProcess, mesh: MeshClient, host: str = "payment-1") -> X509Svid:
    token = (await mesh.create_token("payment-service", host, ttl_s=60))["token"]
    return await control_plane.join(token, host, "payment-service", await roots_of(mesh))


async def roots_of(mesh: MeshClient) -> bytes:
    return "".join((await mesh.ca_roots())["roots"]).encode()


async def renewed(control_plane: ControlPlaneProcess, svid: X509Svid, roots: bytes) -> X509Svid:
    key = new_key()
    async with control_plane.channel(svid, roots) as channel:
        issued = await rpc.SIGN.on(channel)(rpc.SignRequest(csr_der=make_csr(key)), timeout=30)
    return X509Svid.from_der(list(issued.chain_der), key)


def ack_of(roots: bytes, svid: X509Svid) -> Any:
    return rpc.RootsAck(digest=TrustBundle.from_pem(DOMAIN, roots).digest, serial=f"{svid.serial:x}")


async def stage_of(mesh: MeshClient) -> str:
    return str((await mesh.root_status())["stage"])


async def nobody_behind(mesh: MeshClient) -> None:
    async def ask() -> bool | None:
        return None if (await mesh.root_status())["behind"] else True

    await until(ask)


def test_an_agent_is_told_speaks_for_its_host_and_is_asked_to_renew(control_plane: ControlPlaneProcess) -> None:
    async def scene() -> None:
        async with control_plane.client() as mesh:
            await until_ready(mesh)
            svid, first = await joined(control_plane, mesh), await roots_of(mesh)
            async with control_plane.channel(svid, first) as channel:
                call = rpc.WATCH_ROOTS.on(channel)()
                await call.write(ack_of(first, svid))
                assert len((await call.read()).roots_der) == 1
                await mesh.rotate_root("prepare")
                told = await call.read()
                assert (len(told.roots_der), told.renew_within_s) == (2, 0)
                with pytest.raises(ApiError, match="payment-1: is connected and has not acknowledged") as refused:
                    await mesh.rotate_root("activate")
                assert (refused.value.kind, refused.value.status) == ("not_yet", 409)
                both = await roots_of(mesh)
                await call.write(ack_of(both, svid))
                await nobody_behind(mesh)
                assert (await mesh.rotate_root("activate"))["changed"]
                assert (await call.read()).renew_within_s > 0
                with pytest.raises(ApiError, match="payment-1: has not renewed yet"):
                    await mesh.rotate_root("retire")
                fresh = await renewed(control_plane, svid, first)  # we are still reached by who knows the old root only
                await call.write(ack_of(both, fresh))
                await nobody_behind(mesh)
                await mesh.rotate_root("retire")
                assert await ended_with(call) is grpc.StatusCode.UNAUTHENTICATED, (
                    "its certificate is below the old root"
                )
            last = await roots_of(mesh)
            assert (await renewed(control_plane, fresh, last)).spiffe_id == svid.spiffe_id
            with pytest.raises(grpc.aio.AioRpcError):
                await renewed(control_plane, svid, last)
            with pytest.raises(grpc.aio.AioRpcError):
                await renewed(control_plane, fresh, first)

    talk(scene)


async def ended_with(call: Any) -> grpc.StatusCode:
    with suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    code: grpc.StatusCode = await call.code()
    return code


def test_an_agent_from_before_there_were_acknowledgements_is_told_and_counts_as_silent(
    control_plane: ControlPlaneProcess,
) -> None:
    """A rolling upgrade: its request is one empty message, and it never sends another."""

    async def scene() -> None:
        async with control_plane.client() as mesh:
            await until_ready(mesh)
            svid = await joined(control_plane, mesh)
            async with control_plane.channel(svid, await roots_of(mesh)) as channel:
                method = channel.unary_stream(
                    rpc.WATCH_ROOTS.path,
                    request_serializer=rpc.Empty.SerializeToString,
                    response_deserializer=rpc.Roots.FromString,
                )
                call = method(rpc.Empty())
                assert len((await call.read()).roots_der) == 1
                await mesh.rotate_root("prepare")
                assert len((await call.read()).roots_der) == 2
                with pytest.raises(ApiError, match="is connected and has not acknowledged"):
                    await mesh.rotate_root("activate")

    talk(scene)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_it_goes_on_and_the_hosts_certificate_holds(
    control_plane: ControlPlaneProcess, seed: int
) -> None:
    async def scene() -> None:
        rng = Random(seed)
        async with control_plane.client() as mesh:
            await until_ready(mesh)
            svid = await joined(control_plane, mesh)
            for step, done in (
                ("prepare", "active_and_prepared"), ("activate", "active_and_old"), ("retire", "active"),
            ):  # fmt: skip
                before = await stage_of(mesh)
                taking = asyncio.create_task(mesh.rotate_root(step, force=True))
                await asyncio.sleep(rng.uniform(0.0, 0.03))  # the moment of the kill is the matter here
                control_plane.kill()
                with suppress(ApiError, UnreachableError):
                    await taking
                control_plane.start()
                await until_ready(mesh)
                assert await stage_of(mesh) in (before, done)
                await mesh.rotate_root(step, force=True)
                assert await stage_of(mesh) == done
                if step == "activate":
                    svid = await renewed(control_plane, svid, await roots_of(mesh))
            assert await renewed(control_plane, svid, await roots_of(mesh))

    talk(scene)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("prepare", "[]", 400, id="a body that is no object"),
        pytest.param("prepare", '{"force": "yes"}', 400, id="a force that is no boolean"),
        pytest.param("prepare", '{"forse": true}', 400, id="a word that is none"),
        pytest.param("explode", "", 404, id="a step that is none"),
        pytest.param("activate", "", 409, id="a step before its turn"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    control_plane: ControlPlaneProcess, path: str, body: str, status: int
) -> None:
    async def scene() -> None:
        async with control_plane.client() as mesh:
            await until_ready(mesh)
            with pytest.raises(Exception) as refused:  # noqa: PT011 the kinds differ, the status is looked at
                await mesh._call("POST", f"/v1/ca/rotation/{path}", body=body)
            assert getattr(refused.value, "status", status) == status
            assert await stage_of(mesh) == "active"

    talk(scene)
