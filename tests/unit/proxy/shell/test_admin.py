"""The admin page as a conversation with a fake transport."""

from __future__ import annotations

import asyncio
import json

import pytest

from mesh.proxy.shell.admin import AdminConnection, Page, as_json, text
from mesh.proxy.shell.listeners import original_destination
from mesh.proxy.shell.pages import plain
from tests.fakes.sidecars import allow, inbound

PAGES: dict[tuple[str, str], Page] = {
    ("GET", "/ready"): lambda query: text(200, "ready"),
    ("GET", "/certs"): lambda query: as_json(dict(query)),
}


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_open = True

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_open = False


def talk(raw: bytes) -> Transport:
    """Send a request to the page."""

    async def scenario() -> Transport:
        transport = Transport()
        connection = AdminConnection(PAGES)
        connection.connection_made(transport)  # type: ignore[arg-type]  # all that is used
        connection.data_received(raw)
        connection.connection_lost(None)
        return transport

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1:15000\r\n\r\n", b"200", id="a page"),
        pytest.param(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n", b"200", id="under the other name"),
        pytest.param(b"GET /ready HTTP/1.1\r\nhost: evil.example\r\n\r\n", b"403", id="a foreign Host: DNS rebinding"),
        pytest.param(b"GET http://evil/ready HTTP/1.1\r\nhost: localhost\r\n\r\n", b"403", id="absolute form counts"),
        pytest.param(b"GET /certs HTTP/1.1\r\nhost: localhost\r\n\r\n", b"200", id="so is every page"),
        pytest.param(b"POST /certs HTTP/1.1\r\nhost: localhost\r\n\r\n", b"405", id="nothing is changed here"),
        pytest.param(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n", b"404", id="what there is not"),
        pytest.param(b"GET /ready HTTP/1.1\r\nhost : localhost\r\n\r\n", b"400", id="what is no HTTP"),
    ],
)
def test_status(raw: bytes, status: bytes) -> None:
    assert talk(raw).written[9:12] == status


def test_what_stands_behind_the_question_mark_reaches_the_page() -> None:
    written = talk(b"GET /certs?format=json&include_eds HTTP/1.1\r\nhost: localhost\r\n\r\n").written
    assert json.loads(written.partition(b"\r\n\r\n")[2]) == {"format": "json", "include_eds": ""}


def test_requests_on_one_connection() -> None:
    one = b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n"
    transport = talk(one + one)
    assert transport.written.count(b"HTTP/1.1 200") == 2
    assert transport.is_open


def test_tables_become_json_without_functions() -> None:
    shown = plain(inbound(8080, allow("order-service")))
    assert shown["listeners"]["inbound"]["by_address"]["240.0.0.9"]["app"]["authorizer"] == "CompiledAuthorizer"


class Socket:
    """Answers SO_ORIGINAL_DST."""

    def __init__(self, raw: bytes | None) -> None:
        self._raw = raw

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if self._raw is None:
            raise FileNotFoundError(2, "No such file or directory")
        return self._raw


@pytest.mark.parametrize(
    ("raw", "destination"),
    [
        pytest.param(b"\x02\x00\x1f\x90\xf0\x00\x00\x02" + bytes(8), ("240.0.0.2", 8080), id="a virtual address"),
        pytest.param(None, None, id="a connection that nothing redirected"),
    ],
)
def test_original_destination(raw: bytes | None, destination: tuple[str, int] | None) -> None:
    assert original_destination(Socket(raw)) == destination
