"""The operator's HTTP API: config in, catalog and status out. The table of routes is the contents page."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.api import shapes
from mesh.base.clock import Clock
from mesh.base.errors import ConfigError, RemoteProtocolError
from mesh.base.names import WILDCARD, require_label
from mesh.ca.tokens import SECRET_BYTES
from mesh.config.entries import KIND_OF
from mesh.config.load import Loaded, load_text
from mesh.config.references import warnings
from mesh.controlplane import commands, rejoining, rotation_api
from mesh.controlplane.errors import NotFoundError
from mesh.controlplane.http_shell import errors_as_json, read_body, require_token
from mesh.controlplane.proxies import Proxies, ProxyStatus
from mesh.controlplane.rotation import RootRotation
from mesh.controlplane.snapshots import INTENTIONS, Snapshots
from mesh.controlplane.writer import Writer
from mesh.intentions.explain import explain
from mesh.intentions.lint import fall_throughs
from mesh.intentions.match import Request
from mesh.intentions.precedence import in_force
from mesh.registry.health import CheckStatus
from mesh.telemetry.metrics import Metrics
from mesh.xds.types import SHORT_NAME

MAX_TOKEN_TTL_S = 7 * 86400.0
DEFAULT_TOKEN_TTL_S = 3600.0


class HttpApi:
    """The handlers; `app` puts them behind the doors of one listener."""

    def __init__(
        self,
        writer: Writer,
        snapshots: Snapshots,
        proxies: Proxies,
        metrics: Metrics,
        clock: Clock,
        rotation: RootRotation,
        datacenters: tuple[str, ...],
    ) -> None:
        self._writer = writer
        self._snapshots = snapshots
        self._proxies = proxies
        self._metrics = metrics
        self._clock = clock
        self._rotation = rotation
        self._datacenters = datacenters
        self.is_ready = False

    def app(self, token: str | None) -> web.Application:
        """Return the application of one listener.

        Args:
            token: the management token it asks for; None trusts every caller (the unix socket).
        """
        doors: list[Middleware] = [errors_as_json] if token is None else [errors_as_json, require_token(token)]
        app = web.Application(middlewares=doors, client_max_size=shapes.MAX_BODY_BYTES)
        app.add_routes(
            [
                web.put("/v1/config", self.write_config),
                web.post("/v1/config/validate", self.validate_config),
                web.get("/v1/config/{kind}", self.list_config),
                web.get("/v1/config/{kind}/{name}", self.read_config),
                web.delete("/v1/config/{kind}/{name}", self.delete_config),
                web.get("/v1/intentions", self.list_intentions),
                web.get("/v1/intentions/check", self.check_intention),
                web.get("/v1/catalog/services", self.services),
                web.get("/v1/catalog/instances", self.instances),
                web.get("/v1/ca/roots", self.roots),
                *rotation_api.routes(self._rotation),
                web.get("/v1/proxies", self.proxy_status),
                web.post("/v1/tokens", self.create_token),
                web.delete("/v1/tokens/{service}/{host}", self.revoke),
                web.get("/v1/status", self.status),
                web.get("/metrics", self.metrics),
            ]
        )
        return app

    async def write_config(self, request: web.Request) -> web.Response:
        """Put every entry of a file in force, all or none."""
        loaded = await self._load(request)
        stored = await self._writer.write(lambda state: commands.write_entries(state, loaded.entries, loaded.source))
        written = [shapes.written_shape(one.entry, one.index) for one in stored]
        return web.json_response({"written": written, "warnings": self._warnings(loaded)})

    async def validate_config(self, request: web.Request) -> web.Response:
        """Check what a write would check."""
        loaded = await self._load(request)
        commands.validate_entries(self._writer.state, loaded.entries, loaded.source)
        valid = [{"kind": KIND_OF[type(entry)], "name": entry.name} for entry in loaded.entries]
        return web.json_response({"valid": valid, "warnings": self._warnings(loaded)})

    async def list_config(self, request: web.Request) -> web.Response:
        """List the entries of a kind."""
        kind = _known_kind(request)
        stored = [one for key, one in sorted(self._writer.state.entries.items()) if key[0] == kind]
        return web.json_response({"entries": [shapes.entry_shape(one.entry, one.index) for one in stored]})

    async def read_config(self, request: web.Request) -> web.Response:
        """Show one entry."""
        kind, name = _known_kind(request), request.match_info["name"]
        stored = self._writer.state.entries.get((kind, name))
        if stored is None:
            raise NotFoundError(f"reading {kind}/{name[:80]}: there is no such entry")
        return web.json_response(shapes.entry_shape(stored.entry, stored.index))

    async def delete_config(self, request: web.Request) -> web.Response:
        """Take one entry out of force."""
        kind, name = _known_kind(request), request.match_info["name"]
        await self._writer.write(lambda state: commands.delete_entry(state, kind, name))
        return web.json_response({"deleted": {"kind": kind, "name": name, "index": self._writer.state.index}})

    async def list_intentions(self, request: web.Request) -> web.Response:
        """List every row of every destination."""
        state = self._writer.state
        found = [state.intentions(name) for kind, name in sorted(state.entries) if kind == INTENTIONS]
        rows = [row for entry in found if entry for row in shapes.intention_shapes(entry)]
        return web.json_response({"intentions": rows})

    async def check_intention(self, request: web.Request) -> web.Response:
        """Say whether one service may call another, by which rule, and where it is written."""
        source, destination = _label(request, "source"), _label(request, "destination")
        state, protocol = self._writer.state, self._snapshots.protocol(destination)
        rows = in_force(destination, state.intentions(destination), state.intentions(WILDCARD))
        said = explain(destination, rows, source, _asked_request(request), protocol=protocol)
        decision = said.decision
        return web.json_response(
            {
                "allowed": decision.is_allowed,
                "rule": decision.rule,
                "reason": decision.reason,
                "file": str(said.at) if said.at else None,
                "protocol": protocol.value,
                "text": said.text,
            }
        )

    async def services(self, request: web.Request) -> web.Response:
        """List the services."""
        catalog = self._writer.state.catalog
        found = [shapes.service_shape(catalog, name, self._snapshots.protocol(name)) for name in catalog.services()]
        return web.json_response({"index": catalog.index, "services": found})

    async def instances(self, request: web.Request) -> web.Response:
        """List the instances of one service, or all."""
        catalog = self._writer.state.catalog
        found = catalog.instances(request.query.get("service"))
        return web.json_response({"index": catalog.index, "instances": [shapes.instance_shape(one) for one in found]})

    async def roots(self, request: web.Request) -> web.Response:
        """Show whom the members of the mesh trust."""
        authority = self._rotation.authority
        pem = Encoding.PEM
        return web.json_response(
            {
                "trust_domain": authority.trust_domain,
                "roots": [root.public_bytes(pem).decode() for root in authority.bundle.roots],
                "intermediates": {dc: ca.certificate_pem().decode() for dc, ca in authority.intermediates.items()},
            }
        )

    async def proxy_status(self, request: web.Request) -> web.Response:
        """Show how far each proxy has come."""
        return web.json_response({"proxies": [_proxy_shape(proxy) for proxy in self._proxies.all()]})

    async def create_token(self, request: web.Request) -> web.Response:
        """Make a join token; this answer is the only place where it is ever seen."""
        asked = shapes.read_json_object(await read_body(request))
        ttl_s = asked.get("ttl_s", DEFAULT_TOKEN_TTL_S)
        if not isinstance(ttl_s, int | float) or isinstance(ttl_s, bool) or not 1 <= ttl_s <= MAX_TOKEN_TTL_S:
            raise RemoteProtocolError(f"making a token: ttl_s is not a number from 1 to {MAX_TOKEN_TTL_S:g}")
        service, host = _named(asked, "service"), _named(asked, "host")
        datacenter = _named(asked, "datacenter") if asked.get("datacenter") else ""
        if datacenter and datacenter not in self._datacenters:
            raise RemoteProtocolError(f"making a token: {datacenter!r} is not one of {', '.join(self._datacenters)}")
        from_address = _address(asked.get("from_address") or "")
        text, expires_at = await self._writer.write(
            lambda state: commands.create_token(
                state,
                service=service,
                host=host,
                datacenter=datacenter,
                address=from_address,
                ttl=timedelta(seconds=ttl_s),
                now=self._clock.utcnow(),
                secret=secrets.token_bytes(SECRET_BYTES),
            )
        )
        headers = {"Cache-Control": "no-store"}
        return web.json_response({"token": text, "expires_at": expires_at.isoformat()}, headers=headers)

    async def revoke(self, request: web.Request) -> web.Response:
        """Take tokens, rejoin secrets and certificates from one service on one host."""
        asked = dict(request.match_info)
        service, host = _named(asked, "service"), _named(asked, "host")
        revoked = await self._writer.write(lambda state: rejoining.revoke(state, service, host))
        return web.json_response({"revoked": {"service": service, "host": host, **dataclasses.asdict(revoked)}})

    async def status(self, request: web.Request) -> web.Response:
        """Say whether the control plane serves, and how far it is."""
        state = self._writer.state
        body = {
            "ready": self.is_ready,
            "index": state.index,
            "services": len(state.catalog.services()),
            "instances": len(state.catalog.instances()),
            "proxies": sum(proxy.is_connected for proxy in self._proxies.all()),
        }
        return web.json_response(body, status=200 if self.is_ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics, as Prometheus text."""
        state = self._writer.state
        self._metrics.gauge("mesh_state_index").value = state.index
        for status in CheckStatus:
            count = sum(instance.status is status for instance in state.catalog.instances())
            self._metrics.gauge("mesh_instances", status.value).value = count
        return web.Response(text=self._metrics.render(), content_type="text/plain")

    async def _load(self, request: web.Request) -> Loaded:
        """Read and check a file's text, on a thread: a large one must not hold everybody else up."""
        filename = request.query.get("filename", "<api>")[:200]
        loaded = await asyncio.to_thread(load_text, await read_body(request), filename)
        if loaded.services or not loaded.entries:
            at = loaded.services[0].at if loaded.services else None
            reason = "a service definition is registered by the agent of its host, not written here"
            raise ConfigError(reason if loaded.services else "the file has no config entry", at, right="config entries")
        return loaded

    def _warnings(self, loaded: Loaded) -> list[dict[str, Any]]:
        """Return the remarks about the entries of a file, given everything that is in force."""
        state = self._writer.state
        keys = {(KIND_OF[type(entry)], entry.name) for entry in loaded.entries}
        others = [stored.entry for key, stored in state.entries.items() if key not in keys]
        found = warnings([*others, *loaded.entries], state.catalog.services())
        own = [one for one in found if one.at and one.at.path == loaded.source.path] + [*fall_throughs(loaded.entries)]
        return [shapes.error_shape("config", one)["error"] for one in own]


def _known_kind(request: web.Request) -> str:
    kind = request.match_info["kind"]
    if kind not in KIND_OF.values():
        raise NotFoundError(f"finding entries: {kind[:80]!r} is not a kind, kinds are {', '.join(KIND_OF.values())}")
    return kind


def _label(request: web.Request, name: str) -> str:
    try:
        return require_label(request.query.get(name, ""), name)
    except ConfigError as error:
        raise RemoteProtocolError(error.reason) from error


def _named(asked: dict[str, Any], name: str) -> str:
    try:
        return require_label(str(asked.get(name, ""))[:200], name)
    except ConfigError as error:
        raise RemoteProtocolError(error.reason) from error


def _address(text: Any) -> str:
    """Return an IPv4 address in its one spelling, or the empty string for none."""
    try:
        return str(IPv4Address(str(text))) if text else ""
    except ValueError as error:
        raise RemoteProtocolError(f"making a token: from_address {str(text)[:40]!r} is not an IPv4 address") from error


def _asked_request(request: web.Request) -> Request | None:
    """Return the HTTP request that is asked about; None when only the connection is."""
    query = request.query
    if not {"method", "path", "header"} & set(query):
        return None
    headers: dict[str, tuple[str, ...]] = {}
    for pair in query.getall("header", []):
        name, colon, value = pair.partition(":")
        if not colon:
            raise RemoteProtocolError(f"reading header {pair[:80]!r}: it is not name:value")
        headers[name.lower()] = (*headers.get(name.lower(), ()), value.strip())
    return Request(method=query.get("method", "GET"), path=query.get("path", "/"), headers=headers)


def _proxy_shape(proxy: ProxyStatus) -> dict[str, Any]:
    types = {
        SHORT_NAME[url]: {"status": one.status.value, "sent": one.sent, "acked": one.acked, "nack": one.nack}
        for url, one in proxy.types.items()
    }
    return {"node": str(proxy.node), "connected": proxy.is_connected, "types": types}
