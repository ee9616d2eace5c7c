"""HTTP around our handlers: who may call, how much may be sent, and an error for every exception.

Limits come before parsing: 15 s to send a head, 1 MiB of body, 10 s to send it. The unix socket trusts its file
permissions; on TCP all but three public reads need the management token. There is no CORS, and no state changes by GET.
"""

from __future__ import annotations

import asyncio
import hmac
import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mesh.api.shapes import MAX_BODY_BYTES, error_shape
from mesh.base.errors import ConfigError, IdentityError, MeshError, RemoteProtocolError
from mesh.controlplane.errors import ConflictError, NotFoundError, NotYetError
from mesh.controlplane.store import StoreError

log = logging.getLogger("mesh.controlplane.http")

PUBLIC = frozenset({"/v1/status", "/v1/ca/roots", "/metrics"})
HEAD_TIMEOUT_S = 15.0  # for the first head as for the next; aiohttp's default is an hour
BODY_TIMEOUT_S = 10.0
SHUTDOWN_S = 1.0  # for calls under way at the end

_KINDS: tuple[tuple[type[MeshError], str, int], ...] = (
    (ConfigError, "config", 400),
    (IdentityError, "identity", 403),
    (NotFoundError, "not_found", 404),
    (NotYetError, "not_yet", 409),
    (ConflictError, "conflict", 409),
    (StoreError, "storage", 507),
    (MeshError, "internal", 500),
)


def runner(app: web.Application, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> web.AppRunner:
    """Return what serves an application: a connection on which no whole head comes in time is closed."""
    return web.AppRunner(app, access_log=None, keepalive_timeout=head_timeout_s, shutdown_timeout=SHUTDOWN_S)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into the error shape and its status."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        kind = "not_found" if error.status == 404 else "request"
        return web.json_response(error_shape(kind, MeshError(error.reason)), status=error.status, headers=_kept(error))
    except RemoteProtocolError as error:
        return web.json_response(error_shape("request", error), status=error.status)
    except MeshError as error:
        kind, status = next((kind, status) for cls, kind, status in _KINDS if isinstance(error, cls))
        if status >= 500:
            log.error("request failed", extra={"path": request.path, "reason": str(error)})
        return web.json_response(error_shape(kind, error), status=status)


def require_token(token: str) -> Middleware:
    """Return the middleware that lets a caller in who knows the management token."""
    wanted = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_public = request.method == "GET" and request.path in PUBLIC
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not is_public and not hmac.compare_digest(given, wanted):
            raise IdentityError("calling the HTTP API: the management token is missing or wrong")
        return await handler(request)

    return check


async def read_body(request: web.Request) -> str:
    """Return a request's body as text.

    Raises:
        RemoteProtocolError: too large, too slow, or not UTF-8.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RemoteProtocolError(f"reading a request body: more than {MAX_BODY_BYTES} bytes", status=413)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return (await request.read()).decode("utf-8")
    except web.HTTPRequestEntityTooLarge:
        raise RemoteProtocolError(f"reading a request body: more than {MAX_BODY_BYTES} bytes", status=413) from None
    except TimeoutError:
        raise RemoteProtocolError(f"reading a request body: not here after {BODY_TIMEOUT_S:g} s", status=408) from None
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"reading a request body: not UTF-8: {error.reason}") from error


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
