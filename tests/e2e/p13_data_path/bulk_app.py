"""An application that moves bodies: takes them, gives them, in one piece, in chunks, or back while they still come."""

import hashlib

from aiohttp import web

PIECE = 16 * 1024


async def health(_: web.Request) -> web.Response:
    """GET /health."""
    return web.Response(text="ok")


async def digest(request: web.Request) -> web.Response:
    """POST /digest: the SHA-256 of the body."""
    seen = hashlib.sha256()
    async for piece in request.content.iter_any():
        seen.update(piece)
    return web.Response(text=seen.hexdigest())


async def give(request: web.Request) -> web.StreamResponse:
    """GET /give/SIZE: a body with its length, held by nobody as a whole: a small host has no room for it."""
    size = int(request.match_info["size"])
    response = web.StreamResponse()
    response.content_length = size
    return await written(request, response, size)


async def stream(request: web.Request) -> web.StreamResponse:
    """GET /stream/SIZE: the same in chunks."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    return await written(request, response, int(request.match_info["size"]))


async def written(request: web.Request, response: web.StreamResponse, left: int) -> web.StreamResponse:
    """Write a body piece by piece, as fast as it is taken."""
    await response.prepare(request)
    while left:
        await response.write(b"g" * min(left, PIECE))
        left -= min(left, PIECE)
    await response.write_eof()
    return response


async def echo(request: web.Request) -> web.StreamResponse:
    """POST /echo: each piece goes back as it comes, before the last one is here."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


app = web.Application(client_max_size=1 << 30)
app.router.add_get("/health", health)
app.router.add_post("/digest", digest)
app.router.add_get("/give/{size}", give)
app.router.add_get("/stream/{size}", stream)
app.router.add_post("/echo", echo)
web.run_app(app, host="127.0.0.1", port=8080, access_log=None, print=None)
