"""pulse-service: watches the makeline and says how the kitchen is doing."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import ClientError, web
from pizza import SESSION, serve

MAKELINE = "http://makeline-service:8080/tickets"
EVERY_S = 2.0
pulse: dict[str, Any] = {"tickets": None, "seen_at": None, "last_error": None}


async def watch(app: web.Application) -> None:
    """Look at the makeline again and again."""
    while True:
        try:
            async with app[SESSION].get(MAKELINE) as response:
                if response.status == 200:
                    pulse.update(tickets=len(await response.json()), seen_at=time.time(), last_error=None)
                else:
                    pulse.update(last_error=f"makeline-service said {response.status}: {await response.text()}")
        except (ClientError, OSError, TimeoutError) as error:
            pulse.update(last_error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(EVERY_S)


async def show(_: web.Request) -> web.Response:
    """GET /pulse."""
    return web.json_response(pulse)


if __name__ == "__main__":
    application = web.Application()
    application.router.add_get("/pulse", show)
    serve(application, background=watch)
