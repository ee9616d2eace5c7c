"""Listener -> `Listener`, the routes that come by RDS still missing.

All that a host may call is one listener with a chain for each service. So it is compiled chain by chain, with a pause
before each, and a chain that is byte by byte as it was is not compiled again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from mesh.proxy.tables import compile_managers, compile_rbac, compile_tls
from mesh.proxy.tables.compile_endpoints import UNDERSTOOD as ADDRESSES
from mesh.proxy.tables.compile_endpoints import socket_address
from mesh.proxy.tables.model import DownstreamTls, FilterChain, HttpChain, Listener, RouteTable, TcpChain
from mesh.proxy.tables.nack import Place, fields, open_resource, open_typed, require_understood
from mesh.proxy.tables.rbac import Filter
from mesh.proxy.tables.steps import Steps, at_once

_LISTENER = "envoy.config.listener.v3."
UNDERSTOOD = {
    **ADDRESSES,
    _LISTENER + "Listener": fields("name address traffic_direction listener_filters filter_chains"),
    _LISTENER + "ListenerFilter": fields("name typed_config"),
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst": fields(""),
    _LISTENER + "FilterChain": fields("name filter_chain_match filters transport_socket"),
    _LISTENER + "FilterChainMatch": fields("prefix_ranges destination_port"),
    "envoy.config.core.v3.CidrRange": fields("address_prefix prefix_len"),
    _LISTENER + "Filter": fields("name typed_config"),
    "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": fields("stat_prefix max_connections"),
    "google.protobuf.UInt64Value": fields("value"),
    **compile_tls.UNDERSTOOD,
    **compile_managers.UNDERSTOOD,
}

_DIRECTIONS = {base_pb2.INBOUND: True, base_pb2.OUTBOUND: False}


@dataclass(frozen=True, slots=True)
class ListenerDraft:
    """A listener, and for the chains whose routes come by RDS: chain name -> name of the routes, and the way back.

    `places` says for the name of routes where the chains are that want them: which table of the listener
    (by_address_and_port, by_address, by_port: 0, 1, 2), and the key there. `chains` are those it was made of, by a
    digest of their messages, for its next version.
    """

    listener: Listener
    rds_names: Mapping[str, str]
    places: Mapping[str, Sequence[tuple[int, Any]]]
    chains: Mapping[bytes, tuple[FilterChain, str | None]] = field(default_factory=dict, compare=False, repr=False)

    def link(self, routes: Mapping[str, RouteTable]) -> Listener:
        """Return the listener with its routes; all names in `places` must be there."""
        return self.relink(self.listener, routes) if self.rds_names else self.listener

    def relink(self, linked: Listener, routes: Mapping[str, RouteTable]) -> Listener:
        """Return a linked listener with these routes for those of before; all other chains stay as they are."""
        tables: tuple[dict[Any, FilterChain], ...] = (
            dict(linked.by_address_and_port),
            dict(linked.by_address),
            dict(linked.by_port),
        )
        for name in routes:
            for which, key in self.places[name]:
                tables[which][key] = self._with_routes(tables[which][key], routes)
        by_both, by_address, by_port = tables
        return replace(linked, by_address_and_port=by_both, by_address=by_address, by_port=by_port)

    def _with_routes(self, chain: FilterChain, routes: Mapping[str, RouteTable]) -> FilterChain:
        name = self.rds_names.get(chain.name)
        if name is None or not isinstance(chain.app, HttpChain):
            return chain
        return replace(chain, app=replace(chain.app, routes=routes[name]))


def compile_listener(name: str, body: bytes) -> ListenerDraft:
    """Compile one LDS resource.

    Raises:
        ConfigNack: a field, filter or value that is not implemented.
    """
    return at_once(compile_listener_steps(name, body, None))


def compile_listener_steps(name: str, body: bytes, before: ListenerDraft | None) -> Steps[ListenerDraft]:
    """Compile one LDS resource, with a pause before each chain; those that `before` has are taken from there.

    Raises:
        ConfigNack: a field, filter or value that is not implemented.
    """
    at = Place(name)
    message = open_resource(body, listener_pb2.Listener, UNDERSTOOD, at)
    require_understood(message, UNDERSTOOD, at, besides="filter_chains")
    if message.name != name:
        raise at.field("name").nack(f"it says {message.name!r}, the resource is {name!r}")
    if message.traffic_direction not in _DIRECTIONS:
        raise at.field("traffic_direction").not_implemented("a listener that is neither INBOUND nor OUTBOUND")
    _require_original_dst(message, at)
    address, port = socket_address(message.address, at.field("address"))
    is_inbound = _DIRECTIONS[message.traffic_direction]
    builder = _Chains(Listener(name, address, port, is_inbound))
    known = before.chains if before is not None and before.listener.is_inbound == is_inbound else {}
    for chain, where in at.each("filter_chains", message.filter_chains):
        yield
        key = blake2b(chain.SerializeToString(deterministic=True), digest_size=32).digest()
        compiled = known.get(key)
        if compiled is None:
            require_understood(chain, UNDERSTOOD, where)
            compiled = _chain(chain, where, is_inbound=is_inbound)
        builder.add(chain, where, key, compiled)
    return builder.finish()


def _require_original_dst(message: Any, at: Place) -> None:
    """A chain is chosen by where the connection was going before iptables turned it; that has to be asked for."""
    if len(message.listener_filters) != 1:
        raise at.field("listener_filters").not_implemented("a listener without exactly the original_dst filter")
    where = at.field("listener_filters", 0).field("typed_config")
    open_typed(message.listener_filters[0].typed_config, original_dst_pb2.OriginalDst, where)


class _Chains:
    """The chains of one listener while it is compiled, sorted by how specific their match is."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.by_both: dict[tuple[str, int], FilterChain] = {}
        self.by_address: dict[str, FilterChain] = {}
        self.by_port: dict[int, FilterChain] = {}
        self.rds_names: dict[str, str] = {}
        self.names: set[str] = set()
        self.compiled: dict[bytes, tuple[FilterChain, str | None]] = {}

    def add(self, message: Any, at: Place, key: bytes, compiled: tuple[FilterChain, str | None]) -> None:
        if not message.name or message.name in self.names:
            raise at.field("name").nack(f"a chain needs a name of its own, found {message.name!r}")
        self.names.add(message.name)
        self.compiled[key] = compiled
        chain, rds_name = compiled
        if rds_name is not None:
            self.rds_names[chain.name] = rds_name
        self._place(chain, message.filter_chain_match, at.field("filter_chain_match"))

    def finish(self) -> ListenerDraft:
        listener = replace(
            self.listener, by_address_and_port=self.by_both, by_address=self.by_address, by_port=self.by_port
        )
        return ListenerDraft(listener, self.rds_names, self._places(), self.compiled)

    def _places(self) -> dict[str, list[tuple[int, Any]]]:
        places: dict[str, list[tuple[int, Any]]] = {}
        tables: tuple[Mapping[Any, FilterChain], ...] = (self.by_both, self.by_address, self.by_port)
        for which, table in enumerate(tables):
            for key, chain in table.items():
                if (name := self.rds_names.get(chain.name)) is not None:
                    places.setdefault(name, []).append((which, key))
        return places

    def _place(self, chain: FilterChain, match: Any, at: Place) -> None:
        addresses = [_single_address(one, where) for one, where in at.each("prefix_ranges", match.prefix_ranges)]
        port = match.destination_port.value if match.HasField("destination_port") else None
        if not addresses and port is None:
            raise at.not_implemented("a chain for every destination")
        keys: list[Any] = [(address, port) for address in addresses] if port is not None else list(addresses)
        table: dict[Any, FilterChain] = self.by_both if port is not None else self.by_address
        if not addresses:
            keys, table = [port], self.by_port
        for key in keys:
            if key in table:
                raise at.nack(f"chains {table[key].name!r} and {chain.name!r} are for the same destination")
            table[key] = chain


def _single_address(message: Any, at: Place) -> str:
    try:
        address = ip_address(message.address_prefix)
    except ValueError as error:
        raise at.field("address_prefix").nack(f"{message.address_prefix!r} is not an IP address") from error
    if message.prefix_len.value != address.max_prefixlen:
        raise at.field("prefix_len").not_implemented(f"a range of addresses (only /{address.max_prefixlen})")
    return str(address)


def _chain(message: Any, at: Place, *, is_inbound: bool) -> tuple[FilterChain, str | None]:
    tls: DownstreamTls | None = None
    if message.HasField("transport_socket"):
        tls = compile_tls.compile_downstream_tls(message.transport_socket, at.field("transport_socket"))
    limit, rules, guarded = None, [], False
    for number, (one, where) in enumerate(at.each("filters", message.filters), start=1):
        where = where.field("typed_config")
        config = one.typed_config
        if config.Is(connection_limit_pb2.ConnectionLimit.DESCRIPTOR):
            limit = _limit(open_typed(config, connection_limit_pb2.ConnectionLimit, where), where)
        elif config.Is(network_rbac_pb2.RBAC.DESCRIPTOR):
            guarded = True
            rules += _rules(open_typed(config, network_rbac_pb2.RBAC, where), where)
        else:
            if number != len(message.filters):
                raise where.not_implemented("this filter anywhere but at the end of a chain")
            app, rds_name = _application(config, where, rules, guarded=guarded, is_inbound=is_inbound)
            return FilterChain(message.name, app, tls, limit), rds_name
    raise at.field("filters").nack("the last filter has to be an HTTP connection manager or a TCP proxy")


def _limit(message: Any, at: Place) -> int:
    if message.max_connections.value < 1:
        raise at.field("max_connections").nack("at least 1 connection is right")
    return int(message.max_connections.value)


def _rules(message: Any, at: Place) -> list[Filter]:
    compiled = compile_rbac.compile_filter(message, at, is_http=False)
    return [] if compiled is None else [compiled]


def _application(
    config: Any, at: Place, rules: list[Filter], *, guarded: bool, is_inbound: bool
) -> tuple[HttpChain | TcpChain, str | None]:
    """Compile the filter that ends a chain; with the name of its routes when they come by RDS."""
    if config.Is(hcm_pb2.HttpConnectionManager.DESCRIPTOR):
        if guarded:
            raise at.not_implemented("a network RBAC filter before an HTTP connection manager")
        draft = compile_managers.compile_manager(
            open_typed(config, hcm_pb2.HttpConnectionManager, at), at, is_inbound=is_inbound
        )
        return draft.chain, draft.rds_name
    message = open_typed(config, tcp_proxy_pb2.TcpProxy, at)
    return compile_managers.compile_tcp_proxy(message, at, rules, guarded=guarded, is_inbound=is_inbound), None
