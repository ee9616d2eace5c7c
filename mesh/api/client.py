"""A client of the control plane's HTTP API, over its unix socket or TCP; errors come back as the types they were.

async with MeshClient("unix:///run/mesh/control-plane.sock") as mesh:
    await mesh.write_config(text, filename="intentions.hcl")
    for instance in await mesh.instances("payment-service"): ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp

from mesh.api.shapes import Json, config_error
from mesh.base.errors import IdentityError, MeshError

TIMEOUT_S = 10.0
DEFAULT_ADDRESS = "unix:///run/mesh/control-plane.sock"


class UnreachableError(MeshError):
    """Nobody answers at the control plane's address."""


class ApiError(MeshError):
    """The control plane refused; `kind` and `status` say how."""

    def __init__(self, kind: str, status: int, reason: str) -> None:
        self.kind = kind
        self.status = status
        super().__init__(reason)


class MeshClient:
    """One conversation with a control plane.

    Args:
        address: `unix:///path` or `http://host:port`.
        token: the management token; the unix socket needs none.
        timeout_s: for each call as a whole.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._path = address.removeprefix("unix://") if address.startswith("unix://") else None
        self._base = "http://control-plane" if self._path else address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> MeshClient:
        connector = aiohttp.UnixConnector(self._path) if self._path else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def write_config(self, text: str, *, filename: str) -> list[Json]:
        """Write every entry of a file, all or none; return kind, name and index of each."""
        return list((await self.write_config_told(text, filename=filename))["written"])

    async def write_config_told(self, text: str, *, filename: str) -> Json:
        """Write like `write_config`; return what was `written` and the `warnings` about it."""
        return await self._call("PUT", "/v1/config", params={"filename": filename}, body=text)

    async def validate_config(self, text: str, *, filename: str) -> Json:
        """Check what `write_config` would check, and write nothing."""
        return await self._call("POST", "/v1/config/validate", params={"filename": filename}, body=text)

    async def list_config(self, kind: str) -> list[Json]:
        """Return the entries of a kind."""
        return list((await self._call("GET", f"/v1/config/{kind}"))["entries"])

    async def read_config(self, kind: str, name: str) -> Json:
        """Return one entry."""
        return await self._call("GET", f"/v1/config/{kind}/{name}")

    async def delete_config(self, kind: str, name: str) -> Json:
        """Take one entry out of force."""
        return await self._call("DELETE", f"/v1/config/{kind}/{name}")

    async def intentions(self) -> list[Json]:
        """Return all rows of all destinations."""
        return list((await self._call("GET", "/v1/intentions"))["intentions"])

    async def check_intention(
        self,
        source: str,
        destination: str,
        *,
        method: str | None = None,
        path: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Json:
        """Ask whether `source` may call `destination`, as a connection or as one request."""
        params = [("source", source), ("destination", destination)]
        params += [(name, value) for name, value in (("method", method), ("path", path)) if value is not None]
        params += [("header", f"{name}:{value}") for name, value in headers]
        return await self._call("GET", "/v1/intentions/check", params=params)

    async def services(self) -> list[Json]:
        """Return the services of the mesh."""
        return list((await self._call("GET", "/v1/catalog/services"))["services"])

    async def instances(self, service: str | None = None) -> list[Json]:
        """Return the instances of one service, or all."""
        params = {"service": service} if service else {}
        return list((await self._call("GET", "/v1/catalog/instances", params=params))["instances"])

    async def ca_roots(self) -> Json:
        """Return trust domain, roots and intermediates as PEM."""
        return await self._call("GET", "/v1/ca/roots")

    async def root_status(self) -> Json:
        """Return the roots, the next step of a rotation, and who has not come along."""
        return await self._call("GET", "/v1/ca/rotation")

    async def rotate_root(self, step: str, *, force: bool = False) -> Json:
        """Take a step of the root's rotation: prepare, activate, retire or abandon.

        Raises:
            ApiError: kind `not_yet` when somebody would be left behind, `conflict` when another step comes first.
        """
        return await self._call("POST", f"/v1/ca/rotation/{step}", body=json.dumps({"force": force}))

    async def proxies(self) -> list[Json]:
        """Return how far each proxy has come."""
        return list((await self._call("GET", "/v1/proxies"))["proxies"])

    async def create_token(
        self, service: str, host: str, *, ttl_s: float, datacenter: str = "", from_address: str = ""
    ) -> Json:
        """Make a one-time join token for a service on a host; with an address, stolen it is worth nothing elsewhere."""
        body = {"service": service, "host": host, "ttl_s": ttl_s, "datacenter": datacenter}
        body |= {"from_address": from_address} if from_address else {}
        return await self._call("POST", "/v1/tokens", body=json.dumps(body))

    async def revoke(self, service: str, host: str) -> Json:
        """Take tokens, rejoin secrets and certificates from a service on a host."""
        return await self._call("DELETE", f"/v1/tokens/{quote(service, safe='')}/{quote(host, safe='')}")

    async def status(self) -> Json:
        """Return whether the control plane is ready, and its index; one that is not ready answers too."""
        return await self._call("GET", "/v1/status", accepted=503)

    async def metrics(self) -> str:
        """Return the control plane's metrics, as Prometheus text."""
        return (await self._send("GET", "/metrics"))[1]

    async def _call(
        self, method: str, path: str, *, params: Any = None, body: str | None = None, accepted: int = 200
    ) -> Json:
        status, text = await self._send(method, path, params=params, body=body)
        try:
            answer = json.loads(text)
        except ValueError:
            raise ApiError("protocol", status, f"calling {path}: the answer is not JSON (status {status})") from None
        if status >= 400 and status != accepted:
            raise error_of(status, answer.get("error", {}))
        return dict(answer)

    async def _send(self, method: str, path: str, *, params: Any = None, body: str | None = None) -> tuple[int, str]:
        if self._session is None:
            raise UnreachableError("calling the control plane: the client is not open, use `async with`")
        try:
            async with self._session.request(method, self._base + path, params=params, data=body) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            cause = getattr(error, "os_error", error)  # aiohttp wraps a plain "no such file or directory" in more words
            reason = (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).lower()
            if isinstance(error, TimeoutError):
                reason = f"no answer within {self._timeout.total:g} s"
            raise UnreachableError(
                f"calling the control plane at {self.address}: {reason}; "
                "right would be: a running one, or another --address (MESH_ADDRESS)"
            ) from error


def error_of(status: int, body: Mapping[str, Any]) -> MeshError:
    """Return the error that an answer speaks of, as the type it was on the other side."""
    kind = str(body.get("kind", "unknown"))
    if kind == "config":
        return config_error(body)
    if kind == "identity":
        return IdentityError(str(body.get("message", "")))
    return ApiError(kind, status, str(body.get("message", f"status {status}")))
