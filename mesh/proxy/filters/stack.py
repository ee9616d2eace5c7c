"""Filters become one callable, once per chain."""

from __future__ import annotations

from functools import partial

from mesh.proxy.filters.access_record import access_record
from mesh.proxy.filters.authorization import authorization, proof
from mesh.proxy.filters.exchange import Filter, Handler
from mesh.proxy.filters.router import router
from mesh.proxy.filters.tracing import tracing
from mesh.proxy.filters.trusted_headers import trusted_headers
from mesh.proxy.tables.model import HttpChain


def compose(filters: tuple[Filter, ...], last: Handler) -> Handler:
    """Put filters around the last handler; the first of them is the outermost."""
    handler = last
    for one in reversed(filters):
        handler = partial(one, call_next=handler)
    return handler


def stack_for(chain: HttpChain) -> Handler:
    """Return the stack of a chain, as the room's docstring lists it; without RBAC in the chain, without that filter."""
    filters: tuple[Filter, ...] = (access_record, proof, trusted_headers, tracing)
    if chain.authorizer is not None:
        filters += (authorization,)
    return compose(filters, router)
