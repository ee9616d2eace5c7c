"""What the lab asks of the control plane as its operator. The words are those of the HTTP API."""

from __future__ import annotations

from typing import Any, Self

from aiohttp import ClientSession, ClientTimeout, UnixConnector

from lab.driver import LabError


class Operator:
    """A connection to the control plane's unix socket; used with `async with`.

    Args:
        socket_path: where the socket is, seen from here.
    """

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    async def __aenter__(self) -> Self:
        self.session = ClientSession(
            connector=UnixConnector(self.socket_path), base_url="http://control-plane", timeout=ClientTimeout(total=10)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the decoded answer.

        Raises:
            LabError: the control plane refused; its own words.
            aiohttp.ClientError, OSError: it cannot be reached.
        """
        async with self.session.request(method, path, **options) as response:
            answer = await response.json()
            if response.status >= 400:
                fault = answer.get("error", {})
                raise LabError(fault.get("explanation") or fault.get("message") or f"{response.status} {answer}")
            return answer

    async def write_config(self, filename: str, text: str) -> None:
        """Write the config entries of one file."""
        await self.ask("PUT", "/v1/config", params={"filename": filename}, data=text.encode())

    async def roots_pem(self) -> str:
        """Return the trust bundle."""
        return "".join((await self.ask("GET", "/v1/ca/roots"))["roots"])

    async def token(self, service: str, host: str) -> str:
        """Make a one-time join token for one service on one host."""
        body = {"service": service, "host": host, "ttl_s": 600}
        return str((await self.ask("POST", "/v1/tokens", json=body))["token"])

    async def status(self) -> Any:
        """Return the control plane's own status."""
        return await self.ask("GET", "/v1/status")

    async def instances(self) -> list[dict[str, Any]]:
        """Return every registered instance."""
        answer = await self.ask("GET", "/v1/catalog/instances")
        return list(answer["instances"])

    async def proxies(self) -> list[dict[str, Any]]:
        """Return the xDS state of every proxy."""
        return list((await self.ask("GET", "/v1/proxies"))["proxies"])
