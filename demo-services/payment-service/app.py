"""payment-service: charges a card, once per idempotency key, whichever replica is asked.

The ledger decides: both replicas write there under the key, and the first entry under a key is the charge.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import web
from pizza import Store, call, serve

charges = Store("charges")
HOST = os.environ.get("HOST_NAME", "unknown")


async def charge(request: web.Request) -> web.Response:
    """POST /charge {"order_id", "amount_cents", "card"}: 201 with the charge; a repeated key is the same charge."""
    wanted = await request.json()
    key = request.headers.get("idempotency-key") or str(uuid.uuid4())
    entry = {
        "key": key,
        "order_id": wanted["order_id"],
        "amount_cents": wanted["amount_cents"],
        "card_last_four": str(wanted.get("card", ""))[-4:],
        "charged_by": HOST,
    }
    status, written = await call(request, "POST", "http://ledger-service:8080/entries", entry, idempotency_key=key)
    if status not in (200, 201):
        return web.json_response({"error": f"ledger-service said {status}", "answer": written}, status=502)
    kept, _ = charges.put_once(key, written)
    return web.json_response({**kept, "served_by": HOST}, status=201)


async def list_charges(_: web.Request) -> web.Response:
    """GET /charges: what this replica answered."""
    return web.json_response(charges.all())


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/charge", charge)
    app.router.add_get("/charges", list_charges)
    serve(app)
