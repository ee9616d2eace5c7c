"""Outermost: whatever becomes of a request, it is noted exactly once."""

from __future__ import annotations

from mesh.proxy.filters.exchange import Handler, Request, Response


async def access_record(request: Request, call_next: Handler) -> Response:
    """Have the request noted when its last byte has passed, or when somebody went away before."""
    note = request.around.note
    request.at_end.append(lambda ending: note(request, ending))
    return await call_next(request)
