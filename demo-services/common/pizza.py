"""What the six applications of the pizza chain share: a health answer, a small store, calls that keep a trace.

Ordinary application code. It knows names of services and plain HTTP; that a mesh exists is nowhere in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

# An application has to hand the headers of a trace from the call it serves to the calls it makes; no proxy can
# know which belong together. This is all that tracing asks of it.
TRACE_HEADERS = (
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
)
CALL_TIMEOUT_S = 20.0
SESSION = web.AppKey("session", ClientSession)


class Store:
    """A table of JSON documents by key, on disk; what `put_once` returned is there after a crash."""

    def __init__(self, name: str) -> None:
        folder = Path(os.environ.get("DATA_DIR", "."))
        self.db = sqlite3.connect(folder / f"{name}.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE IF NOT EXISTS document (key TEXT PRIMARY KEY, body TEXT NOT NULL)")

    def put_once(self, key: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Keep a document under a key unless the key is taken; return what is kept and whether it is new."""
        added = self.db.execute("INSERT OR IGNORE INTO document VALUES (?, ?)", (key, json.dumps(body))).rowcount
        return self.get(key) or {}, bool(added)

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the document of a key."""
        row = self.db.execute("SELECT body FROM document WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self) -> list[dict[str, Any]]:
        """Return every document, oldest first."""
        return [json.loads(row[0]) for row in self.db.execute("SELECT body FROM document ORDER BY rowid")]


async def call(request: web.Request, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Call another service for this request: its trace goes along. Return the status and the decoded answer."""
    passed_on = {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}
    session = request.app[SESSION]
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.request(method, url, json=body, headers={**passed_on, **extra}) as response:
        text = await response.text()
        return response.status, _decoded(text)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text.strip()}


class CountedConnection(asyncio.Protocol):
    """Counts one accepted connection by the address it came from, then stands aside."""

    def __init__(self, inner: asyncio.Protocol, accepted: Counter[str]) -> None:
        self.inner = inner
        self.accepted = accepted
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count and hand over."""
        self.accepted[(transport.get_extra_info("peername") or ("unknown",))[0]] += 1
        self.inner.connection_made(transport)


def serve(app: web.Application, port: int = 8080, background: Callable[[web.Application], Any] | None = None) -> None:
    """Serve an application until SIGTERM. Adds /health and /debug/connections (accepted so far, by peer)."""
    accepted: Counter[str] = Counter()

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def connections(_: web.Request) -> web.Response:
        return web.json_response({"accepted": dict(accepted)})

    app.router.add_get("/health", health)
    app.router.add_get("/debug/connections", connections)
    asyncio.run(_run(app, port, accepted, background))


async def _run(
    app: web.Application, port: int, accepted: Counter[str], background: Callable[[web.Application], Any] | None
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with ClientSession(timeout=ClientTimeout(total=CALL_TIMEOUT_S)) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        factory = runner.server
        server = await loop.create_server(lambda: CountedConnection(factory(), accepted), "0.0.0.0", port)  # noqa: S104
        print(json.dumps({"message": "serving", "port": port}), file=sys.stderr, flush=True)  # noqa: T201
        task = asyncio.create_task(background(app)) if background else None
        await stopped.wait()
        if task:
            task.cancel()
        server.close()
        await runner.cleanup()
