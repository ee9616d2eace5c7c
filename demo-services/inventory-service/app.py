"""inventory-service: what the chain can still bake; it lives in the other datacenter."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import web
from pizza import serve

STOCK = {"margherita": 500, "funghi": 200, "diavola": 0}


async def stock(request: web.Request) -> web.Response:
    """GET /stock/{pizza}: how many can be made; diavola is sold out, so that a refusal can be seen."""
    pizza = request.match_info["pizza"]
    if pizza not in STOCK:
        return web.json_response({"error": f"no pizza {pizza!r}"}, status=404)
    return web.json_response({"pizza": pizza, "available": STOCK[pizza]})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/stock/{pizza}", stock)
    serve(app)
