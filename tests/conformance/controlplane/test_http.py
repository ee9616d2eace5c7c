"""The HTTP API's door over a real socket: who sends no whole head may not keep a connection."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from mesh.controlplane.http_shell import HEAD_TIMEOUT_S, runner

ASKED = b"GET / HTTP/1.1\r\nhost: control-plane\r\n\r\n"


@pytest.mark.parametrize(
    ("before", "begun"),
    [
        pytest.param(b"", b"", id="one that says nothing"),
        pytest.param(b"", b"GET / HT", id="one that begins a first head"),
        pytest.param(ASKED, b"GET / HT", id="one that begins a second head"),
    ],
)
def test_a_head_that_does_not_end_is_not_waited_for(before: bytes, begun: bytes) -> None:
    async def run() -> None:
        served = runner(web.Application(), head_timeout_s=0.2)
        await served.setup()
        site = web.TCPSite(served, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*served.addresses[0][:2])
        try:
            writer.write(before + begun)
            async with asyncio.timeout(30):
                await reader.read()
        finally:
            writer.close()
            await served.cleanup()

    asyncio.run(run())


def test_the_door_of_the_api_has_such_a_limit() -> None:
    assert runner(web.Application())._kwargs["keepalive_timeout"] == HEAD_TIMEOUT_S <= 30
