"""Outermost: whatever becomes of a request, it is noted exactly once."""

from __future__ import annotations

from functools import partial

from mesh.proxy.filters.exchange import Handler, Request, Response


async def access_record(request: Request, call_next: Handler) -> Response:
    """Have the request noted when its last byte has passed, or when somebody went away before."""
    request.at_end.append(partial(request.around.note, request))
    return await call_next(request)
