"""ledger-service: the one book; an entry is written once per idempotency key."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import web
from pizza import Store, serve

entries = Store("entries")


async def write(request: web.Request) -> web.Response:
    """POST /entries with an idempotency key: 201 when new, 200 with the first entry when the key is known."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        return web.json_response({"error": "an entry needs an idempotency-key header"}, status=400)
    kept, is_new = entries.put_once(key, await request.json())
    return web.json_response(kept, status=201 if is_new else 200)


async def read(request: web.Request) -> web.Response:
    """GET /entries, optionally ?order_id=."""
    wanted = request.query.get("order_id")
    return web.json_response([entry for entry in entries.all() if wanted in (None, entry.get("order_id"))])


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/entries", write)
    app.router.add_get("/entries", read)
    serve(app)
