"""Network filters -> what happens to a connection: HTTP connection manager, TCP proxy, and the RBAC before them.

Some fields of the connection manager must have the one value that this proxy always acts by (paths are normalised,
slashes merged, an escaped slash refused, the `server` header left alone). Unset they would mean something else to
Envoy, so unset is refused too: both data planes do the same or one says no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import IMMEDIATE, ON_DOWNSTREAM_DATA

from mesh.proxy.policy.flags import DECISION_HEADER, Flag
from mesh.proxy.tables import compile_rbac, compile_routes
from mesh.proxy.tables.model import AccessLog, Authorizer, HttpChain, RouteTable, TcpChain
from mesh.proxy.tables.nack import Place, fields, open_typed
from mesh.proxy.tables.rbac import CompiledAuthorizer, Filter
from mesh.proxy.tables.values import number, positive_seconds
from mesh.xds.build.claims import without_claims

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3."
UNDERSTOOD = {
    _HCM + "HttpConnectionManager": fields(
        "codec_type stat_prefix rds route_config http_filters access_log common_http_protocol_options"
        " max_request_headers_kb request_headers_timeout server_header_transformation normalize_path merge_slashes"
        " path_with_escaped_slashes_action forward_client_cert_details set_current_client_cert_details"
        " local_reply_config http_protocol_options use_remote_address skip_xff_append internal_address_config"
        " early_header_mutation_extensions"
    ),
    "envoy.config.core.v3.TypedExtensionConfig": fields("name typed_config"),
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": fields("mutations"),
    "envoy.config.common.mutation_rules.v3.HeaderMutation": fields("remove_on_match"),
    "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch": fields("key_matcher"),
    _HCM + "HttpConnectionManager.InternalAddressConfig": fields("cidr_ranges"),
    "envoy.config.core.v3.CidrRange": fields("address_prefix prefix_len"),
    "envoy.config.core.v3.Http1ProtocolOptions": fields("accept_http_10"),
    _HCM + "HttpConnectionManager.SetCurrentClientCertDetails": fields("uri"),
    _HCM + "Rds": fields("config_source route_config_name"),
    _HCM + "HttpFilter": fields("name typed_config"),
    _HCM + "LocalReplyConfig": fields("mappers"),
    _HCM + "ResponseMapper": fields("filter headers_to_add body_format_override"),
    "envoy.config.accesslog.v3.AccessLogFilter": fields("response_flag_filter status_code_filter"),
    "envoy.config.accesslog.v3.StatusCodeFilter": fields("comparison"),
    "envoy.config.accesslog.v3.ComparisonFilter": fields("op value"),
    "envoy.config.core.v3.RuntimeUInt32": fields("default_value runtime_key"),
    "envoy.config.accesslog.v3.ResponseFlagFilter": fields("flags"),
    "envoy.config.core.v3.HeaderValueOption": fields("header append_action"),
    "envoy.config.core.v3.HeaderValue": fields("key value"),
    "envoy.config.core.v3.HttpProtocolOptions": fields("idle_timeout max_headers_count"),
    "envoy.config.accesslog.v3.AccessLog": fields("name typed_config"),
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": fields("path log_format"),
    "envoy.config.core.v3.SubstitutionFormatString": fields("json_format text_format_source"),
    "envoy.extensions.filters.http.router.v3.Router": fields(""),
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": fields(
        "stat_prefix cluster idle_timeout access_log upstream_connect_mode max_early_data_bytes"
    ),
    **compile_rbac.UNDERSTOOD,
    **compile_routes.UNDERSTOOD,
}

_Manager = hcm_pb2.HttpConnectionManager
_FIXED = {
    "codec_type": (_Manager.HTTP1, "a codec other than HTTP1"),
    "server_header_transformation": (_Manager.PASS_THROUGH, "another server header than PASS_THROUGH"),
    "merge_slashes": (True, "leaving repeated slashes in a path"),
    "path_with_escaped_slashes_action": (_Manager.REJECT_REQUEST, "anything but REJECT_REQUEST"),
}
EVERYBODY = ("0.0.0.0", 0)  # noqa: S104 - a range of addresses
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@dataclass(frozen=True, slots=True)
class HttpDraft:
    """A connection manager; `rds_name` says which routes are still to be put in, None: they are in it."""

    chain: HttpChain
    rds_name: str | None


def compile_manager(message: Any, at: Place, *, is_inbound: bool) -> HttpDraft:
    """Compile an HttpConnectionManager whose fields are known to be understood.

    Raises:
        ConfigNack: a value that is not implemented.
    """
    for name, (right, what) in _FIXED.items():
        if getattr(message, name) != right:
            raise at.field(name).not_implemented(what)
    if not message.normalize_path.value:
        raise at.field("normalize_path").not_implemented("leaving paths as they came")
    if not message.http_protocol_options.accept_http_10:
        raise at.field("http_protocol_options.accept_http_10").not_implemented("refusing HTTP/1.0")
    _require_belief(message, at, is_inbound=is_inbound)
    _require_no_claims(message, at, is_inbound=is_inbound)
    routes, rds_name = _routes(message, at)
    options, where = message.common_http_protocol_options, at.field("common_http_protocol_options")
    default = HttpChain("", routes)
    chain = HttpChain(
        stat_prefix=message.stat_prefix,
        routes=routes,
        authorizer=_http_authorizer(message.http_filters, at),
        is_inbound=is_inbound,
        idle_timeout_s=positive_seconds(options, "idle_timeout", default.idle_timeout_s, where),
        headers_timeout_s=positive_seconds(message, "request_headers_timeout", default.headers_timeout_s, at),
        max_headers_bytes=number(message, "max_request_headers_kb", 60) * 1024,
        max_headers_count=number(options, "max_headers_count", default.max_headers_count),
        local_reply_headers=_local_replies(message.local_reply_config, at.field("local_reply_config")),
        access_log=compile_access_log(message.access_log, at),
        is_forwarding_client_identity=_is_forwarding(message, at),
    )
    return HttpDraft(chain, rds_name)


def _require_belief(message: Any, at: Place, *, is_inbound: bool) -> None:
    """Refuse another answer to "whose x-envoy- fields count" than ours: those of the application, never a peer's."""
    ranges = [(one.address_prefix, one.prefix_len.value) for one in message.internal_address_config.cidr_ranges]
    if is_inbound and (message.use_remote_address.value or ranges):
        raise at.field("internal_address_config").not_implemented("believing a peer's x-envoy- fields")
    if not is_inbound and (not message.use_remote_address.value or ranges != [EVERYBODY]):
        raise at.field("internal_address_config").not_implemented("not believing the application's x-envoy- fields")
    if not is_inbound and not message.skip_xff_append:
        raise at.field("skip_xff_append").not_implemented("writing x-forwarded-for")


def _require_no_claims(message: Any, at: Place, *, is_inbound: bool) -> None:
    """Refuse to let other names pass than those that this proxy lets pass by itself."""
    if list(message.early_header_mutation_extensions) != [without_claims(is_behind_sidecar=is_inbound)]:
        raise at.field("early_header_mutation_extensions").not_implemented(
            "anything but taking out the names that only the mesh may say"
        )


def compile_tcp_proxy(
    message: Any, at: Place, filters: Sequence[Filter], *, guarded: bool, is_inbound: bool
) -> TcpChain:
    """Compile a TcpProxy and the RBAC filters in front of it."""
    if not message.cluster:
        raise at.field("cluster").nack("a TCP proxy needs the name of a cluster")
    # Said to Envoy, so that intentions are asked before it dials. Here they always are, and nobody waits for a byte.
    if message.upstream_connect_mode not in (IMMEDIATE, *([ON_DOWNSTREAM_DATA] if guarded else [])):
        raise at.field("upstream_connect_mode").not_implemented(
            "to wait with dialling for another reason than intentions"
        )
    return TcpChain(
        stat_prefix=message.stat_prefix,
        cluster=message.cluster,
        authorizer=CompiledAuthorizer(filters) if guarded else None,
        is_inbound=is_inbound,
        idle_timeout_s=positive_seconds(message, "idle_timeout", 3600.0, at),
        access_log=compile_access_log(message.access_log, at),
    )


def compile_access_log(logs: Any, at: Place) -> AccessLog | None:
    """Compile the access log of a filter: none, or one file with JSON lines."""
    if len(logs) > 1:
        raise at.field("access_log").not_implemented("more than one access log")
    for log, where in at.each("access_log", logs):
        where = where.field("typed_config")
        file = open_typed(log.typed_config, file_pb2.FileAccessLog, where)
        if not file.path or file.log_format.WhichOneof("format") != "json_format":
            raise where.not_implemented("an access log other than a file with a json_format")
        return AccessLog(file.path, tuple(_log_fields(file.log_format.json_format, where)))
    return None


def _log_fields(json_format: Any, at: Place) -> list[tuple[str, str]]:
    for key, value in json_format.items():
        if not isinstance(value, str):
            raise at.field("log_format", key).not_implemented("a value other than a string")
    return sorted(json_format.items())


def _routes(message: Any, at: Place) -> tuple[RouteTable, str | None]:
    kind = message.WhichOneof("route_specifier")
    if kind == "route_config":
        return compile_routes.routes_of(message.route_config, at.field(kind)), None
    if kind != "rds":
        raise at.nack("a connection manager needs routes: route_config or rds")
    name = message.rds.route_config_name
    if not message.rds.config_source.HasField("ads"):
        raise at.field("rds.config_source").not_implemented("a source other than ads")
    if not name:
        raise at.field("rds.route_config_name").nack("routes need a name")
    return RouteTable(name, {}), name


def _http_authorizer(http_filters: Any, at: Place) -> Authorizer | None:
    """RBAC filters in their order, then the router, which must be the last."""
    rules: list[Filter] = []
    guarded = False
    router_type = router_pb2.Router.DESCRIPTOR
    for position, (one, where) in enumerate(at.each("http_filters", http_filters), start=1):
        where = where.field("typed_config")
        if one.typed_config.Is(router_type):
            if position != len(http_filters):
                raise where.nack("the router has to be the last filter")
            return CompiledAuthorizer(rules) if guarded else None
        config = open_typed(one.typed_config, http_rbac_pb2.RBAC, where)
        guarded = True
        compiled = compile_rbac.compile_filter(config, where, is_http=True)
        if compiled is not None:
            rules.append(compiled)
    raise at.field("http_filters").nack("the last filter has to be the router")


def _local_replies(config: Any, at: Place) -> dict[str, tuple[tuple[str, str], ...]]:
    """Response flag -> headers to add to a local reply with that flag."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for mapper, where in at.each("mappers", config.mappers):
        if mapper.filter.HasField("status_code_filter"):
            _require_refusal(mapper, where)
            continue
        flags = mapper.filter.response_flag_filter.flags
        if mapper.HasField("body_format_override"):
            raise where.field("body_format_override").not_implemented("another body for a flag")
        if not flags:
            raise where.field("filter").not_implemented("a mapper for every local reply")
        added = tuple(_added_header(one, place) for one, place in where.each("headers_to_add", mapper.headers_to_add))
        for flag in flags:
            if flag not in Flag.__members__:
                raise where.field("filter").not_implemented(f"the response flag {flag!r}")
            found.setdefault(flag, added)  # Envoy: the first mapper that matches is taken
    return found


def _require_refusal(mapper: Any, at: Place) -> None:
    """Refuse a mapper by status other than the one by which Envoy tells who refused: this proxy does so unasked."""
    comparison = mapper.filter.status_code_filter.comparison
    names = [one.header.key.lower() for one in mapper.headers_to_add]
    if comparison.op != comparison.EQ or comparison.value.default_value != 403 or names != [DECISION_HEADER]:
        raise at.not_implemented(f"a mapper by status other than that of 403 with {DECISION_HEADER}")


def _added_header(option: Any, at: Place) -> tuple[str, str]:
    if option.append_action != _OVERWRITE:
        raise at.field("append_action").not_implemented("an action other than OVERWRITE_IF_EXISTS_OR_ADD")
    if "%" in option.header.value:
        raise at.field("header").not_implemented("a header value with a command operator")
    return option.header.key.lower(), option.header.value


def _is_forwarding(message: Any, at: Place) -> bool:
    kind = message.forward_client_cert_details
    if kind == _Manager.SANITIZE:
        return False
    if kind != _Manager.SANITIZE_SET:
        raise at.field("forward_client_cert_details").not_implemented("anything but SANITIZE and SANITIZE_SET")
    if not message.set_current_client_cert_details.uri:
        raise at.field("set_current_client_cert_details").not_implemented("SANITIZE_SET without uri")
    return True
