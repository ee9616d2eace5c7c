"""Listeners, chains and their filters: what is refused, and at which field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener as ListenerMessage
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager as Manager,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import ON_DOWNSTREAM_TLS_HANDSHAKE, TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mesh.proxy.tables.compile_listeners import compile_listener
from mesh.proxy.tables.model import TcpChain, Verdict
from mesh.proxy.tables.nack import ConfigNack
from mesh.xds.build.resources import build_resources
from mesh.xds.types import LISTENER
from tests.fakes.sample_mesh import ACCESS_LOG, LEDGER, PAYMENT, spiffe_id
from tests.fakes.xds import changed

HTTP = build_resources(PAYMENT, ACCESS_LOG)[LISTENER]["inbound"].body
TCP = build_resources(LEDGER, ACCESS_LOG)[LISTENER]["inbound"].body
Change = Callable[[Any], object]


def in_any(place: Callable[[Any], Any], kind: Any, change: Change) -> Change:
    """Return a change inside a typed_config."""

    def inside(message: Any) -> None:
        packed, opened = place(message), kind()
        packed.Unpack(opened)
        change(opened)
        packed.Pack(opened)

    return inside


def in_manager(change: Change) -> Change:
    return in_any(lambda m: m.filter_chains[0].filters[-1].typed_config, Manager, change)


def in_tls(change: Change) -> Change:
    return in_any(lambda m: m.filter_chains[0].transport_socket.typed_config, DownstreamTlsContext, change)


def in_tcp_proxy(change: Change) -> Change:
    return in_any(lambda m: m.filter_chains[0].filters[-1].typed_config, TcpProxy, change)


def setting(name: str, value: Any) -> Change:
    return lambda message: setattr(message, name, value)


def swap_filters(message: Any) -> None:
    manager = message.filter_chains[0].filters.pop()
    message.filter_chains[0].filters.insert(0, manager)


def network_rbac(message: Any) -> None:
    filters = message.filter_chains[0].filters
    filters.insert(0, filters[0])
    filters[0].typed_config.Pack(NetworkRbac())


def a_range(message: Any) -> None:
    message.filter_chains[0].filter_chain_match.prefix_ranges.add(address_prefix="10.0.0.0").prefix_len.value = 8


def no_address(message: Any) -> None:
    message.filter_chains[0].filter_chain_match.prefix_ranges.add(address_prefix="x").prefix_len.value = 32


def router_first(manager: Any) -> None:
    manager.http_filters.insert(0, manager.http_filters.pop())


def second_access_log(manager: Any) -> None:
    manager.access_log.append(manager.access_log[0])


CHAIN = "filter_chains[0]"
MANAGER = CHAIN + ".filters[1].typed_config"
TLS = CHAIN + ".transport_socket.typed_config"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param(setting("name", "x"), "name", id="another's name"),
        pytest.param(setting("traffic_direction", 0), "traffic_direction", id="neither inbound nor outbound"),
        pytest.param(lambda m: m.ClearField("listener_filters"), "listener_filters", id="no original destination"),
        pytest.param(lambda m: m.default_filter_chain.SetInParent(), "default_filter_chain", id="a default chain"),
        pytest.param(
            lambda m: m.filter_chains[0].ClearField("filter_chain_match"), CHAIN + ".filter_chain_match", id="for all"
        ),
        pytest.param(a_range, CHAIN + ".filter_chain_match.prefix_ranges[0].prefix_len", id="a range of addresses"),
        pytest.param(no_address, CHAIN + ".filter_chain_match.prefix_ranges[0].address_prefix", id="no IP address"),
        pytest.param(
            lambda m: setattr(m.filter_chains[0].filter_chain_match, "transport_protocol", "tls"),
            CHAIN + ".filter_chain_match.transport_protocol",
            id="choosing by what the caller speaks",
        ),
        pytest.param(
            lambda m: m.filter_chains[0].filter_chain_match.CopyFrom(m.filter_chains[1].filter_chain_match),
            "filter_chains[1].filter_chain_match",
            id="two chains for one destination",
        ),
        pytest.param(
            lambda m: setattr(m.filter_chains[1], "name", m.filter_chains[0].name),
            "filter_chains[1].name",
            id="two chains of one name",
        ),
        pytest.param(lambda m: m.filter_chains[0].ClearField("filters"), CHAIN + ".filters", id="no filter"),
        pytest.param(swap_filters, CHAIN + ".filters[0].typed_config", id="a filter behind the last"),
        pytest.param(network_rbac, CHAIN + ".filters[2].typed_config", id="network RBAC before HTTP"),
        pytest.param(
            in_tls(lambda c: c.require_client_certificate.Clear()),
            TLS + ".require_client_certificate",
            id="callers without a certificate",
        ),
        pytest.param(in_manager(setting("codec_type", Manager.AUTO)), MANAGER + ".codec_type", id="any codec"),
        pytest.param(
            in_manager(lambda c: c.normalize_path.Clear()), MANAGER + ".normalize_path", id="paths as they came"
        ),
        pytest.param(in_manager(setting("merge_slashes", False)), MANAGER + ".merge_slashes", id="repeated slashes"),
        pytest.param(
            in_manager(setting("path_with_escaped_slashes_action", 0)),
            MANAGER + ".path_with_escaped_slashes_action",
            id="escaped slashes",
        ),
        pytest.param(
            in_manager(setting("server_header_transformation", 0)),
            MANAGER + ".server_header_transformation",
            id="writing the server header",
        ),
        pytest.param(
            in_manager(lambda c: setattr(c.add_user_agent, "value", True)),
            MANAGER + ".add_user_agent",
            id="adding a user agent",
        ),
        pytest.param(in_manager(lambda c: c.ClearField("route_config")), MANAGER, id="no routes"),
        pytest.param(in_manager(lambda c: c.ClearField("http_filters")), MANAGER + ".http_filters", id="no router"),
        pytest.param(in_manager(router_first), MANAGER + ".http_filters[0].typed_config", id="the router before RBAC"),
        pytest.param(
            in_manager(lambda c: c.http_filters[0].typed_config.Pack(TcpProxy(stat_prefix="x"))),
            MANAGER + ".http_filters[0].typed_config",
            id="no HTTP filter",
        ),
        pytest.param(
            in_manager(lambda c: c.http_filters[0].typed_config.Pack(HttpRbac(shadow_rules={}))),
            MANAGER + ".http_filters[0].typed_config.shadow_rules",
            id="shadow rules",
        ),
        pytest.param(in_manager(second_access_log), MANAGER + ".access_log", id="two access logs"),
        pytest.param(
            in_manager(setting("forward_client_cert_details", Manager.ALWAYS_FORWARD_ONLY)),
            MANAGER + ".forward_client_cert_details",
            id="believing what a caller says of itself",
        ),
        pytest.param(
            in_manager(lambda c: c.set_current_client_cert_details.Clear()),
            MANAGER + ".set_current_client_cert_details",
            id="forwarding without saying what",
        ),
        pytest.param(
            in_manager(lambda c: c.local_reply_config.mappers[0].filter.Clear()),
            MANAGER + ".local_reply_config.mappers[0].filter",
            id="a mapper for all replies",
        ),
        pytest.param(
            in_manager(
                lambda c: setattr(c.local_reply_config.mappers[0].headers_to_add[0].header, "value", "%REQ(A)%")
            ),
            MANAGER + ".local_reply_config.mappers[0].headers_to_add[0].header",
            id="a command operator",
        ),
        pytest.param(
            in_manager(lambda c: setattr(c.request_headers_timeout, "seconds", 0)),
            MANAGER + ".request_headers_timeout",
            id="waiting for a head without end",
        ),
    ],
)
def test_what_is_refused(change: Change, path: str) -> None:
    with pytest.raises(ConfigNack) as caught:
        compile_listener("inbound", changed(HTTP, ListenerMessage, change))
    assert caught.value.path == path


def test_a_tcp_chain_knows_its_callers() -> None:
    draft = compile_listener("inbound", TCP)
    chain = draft.listener.by_port[9000]
    assert isinstance(chain.app, TcpChain)
    assert chain.app.authorizer is not None
    allowed, refused = (chain.app.authorizer.decide_connection(spiffe_id(name)) for name in ("payment-service", "x"))
    assert (allowed.verdict, allowed.rule) == (Verdict.ALLOW, "intentions/ledger-service#1:payment-service")
    assert (refused.verdict, refused.rule) == (Verdict.DENY, f"default deny: no intention allows {spiffe_id('x')}")
    assert draft.rds_names == {}


def test_only_intentions_are_a_reason_to_dial_late() -> None:
    def no_guards(message: Any) -> None:
        carrier = message.filter_chains[0].filters[-1]
        del message.filter_chains[0].filters[:]
        message.filter_chains[0].filters.append(carrier)

    late = in_tcp_proxy(setting("upstream_connect_mode", ON_DOWNSTREAM_TLS_HANDSHAKE))
    for change in (late, no_guards):
        with pytest.raises(ConfigNack) as caught:
            compile_listener("inbound", changed(TCP, ListenerMessage, change))
        assert caught.value.path.endswith("typed_config.upstream_connect_mode")


def test_a_tcp_chain_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigNack) as caught:
        compile_listener("inbound", changed(TCP, ListenerMessage, in_tcp_proxy(setting("cluster", ""))))
    assert caught.value.path == "filter_chains[0].filters[2].typed_config.cluster"
