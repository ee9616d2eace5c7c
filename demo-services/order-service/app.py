"""order-service: takes an order, and makes the three calls that an order costs."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

from aiohttp import web
from pizza import Store, call, serve

PRICE_CENTS = {"margherita": 900, "funghi": 1050, "diavola": 1150}
orders = Store("orders")


async def take_order(request: web.Request) -> web.Response:
    """POST /orders {"pizza", "quantity", "card"}: 201 with the order, or the first refusal on the way."""
    wanted = await request.json()
    order_id = request.headers.get("idempotency-key") or str(uuid.uuid4())
    if known := orders.get(order_id):
        return web.json_response(known, status=200)
    pizza, quantity = str(wanted.get("pizza", "")), int(wanted.get("quantity", 1))
    if pizza not in PRICE_CENTS:
        return web.json_response({"error": f"no pizza {pizza!r}", "menu": sorted(PRICE_CENTS)}, status=400)

    stock = await call(request, "GET", f"http://inventory-service:8080/stock/{pizza}")
    if stock[0] != 200 or stock[1]["available"] < quantity:
        return refusal("inventory-service", stock)

    charge = {"order_id": order_id, "amount_cents": PRICE_CENTS[pizza] * quantity, "card": wanted.get("card", "")}
    paid = await call(request, "POST", "http://payment-service:8080/charge", charge, idempotency_key=order_id)
    if paid[0] != 201:
        return refusal("payment-service", paid)

    ticket = {"order_id": order_id, "pizza": pizza, "quantity": quantity}
    queued = await call(request, "POST", "http://makeline-service:8080/tickets", ticket, idempotency_key=order_id)
    if queued[0] != 201:
        return refusal("makeline-service", queued)

    order = {"id": order_id, "pizza": pizza, "quantity": quantity, "charge": paid[1], "ticket": queued[1]}
    kept, _ = orders.put_once(order_id, order)
    return web.json_response(kept, status=201)


def refusal(service: str, answer: tuple[int, Any]) -> web.Response:
    """Tell the customer which call failed and what it said."""
    return web.json_response({"error": f"{service} said {answer[0]}", "answer": answer[1]}, status=502)


async def list_orders(_: web.Request) -> web.Response:
    """GET /orders."""
    return web.json_response(orders.all())


async def one_order(request: web.Request) -> web.Response:
    """GET /orders/{id}."""
    order = orders.get(request.match_info["id"])
    return web.json_response(order or {"error": "no such order"}, status=200 if order else 404)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/orders", take_order)
    app.router.add_get("/orders", list_orders)
    app.router.add_get("/orders/{id}", one_order)
    serve(app)
