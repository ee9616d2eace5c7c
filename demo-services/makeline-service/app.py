"""makeline-service: the queue of the kitchen."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import web
from pizza import Store, serve

tickets = Store("tickets")


async def queue(request: web.Request) -> web.Response:
    """POST /tickets {"order_id", "pizza", "quantity"}: 201; a repeated idempotency key is the same ticket."""
    key = request.headers.get("idempotency-key") or str(uuid.uuid4())
    kept, _ = tickets.put_once(key, {"ticket": key, "state": "queued", **await request.json()})
    return web.json_response(kept, status=201)


async def list_tickets(_: web.Request) -> web.Response:
    """GET /tickets."""
    return web.json_response(tickets.all())


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/tickets", queue)
    app.router.add_get("/tickets", list_tickets)
    serve(app)
