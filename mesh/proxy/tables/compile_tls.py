"""Transport sockets -> who we are, whom we believe. Certificates themselves come from the agent, by name."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from mesh.proxy.tables.model import DownstreamTls, UpstreamTls
from mesh.proxy.tables.nack import Place, fields, open_typed

_TLS = "envoy.extensions.transport_sockets.tls.v3."
UNDERSTOOD = {
    "envoy.config.core.v3.TransportSocket": fields("name typed_config"),
    _TLS + "UpstreamTlsContext": fields("common_tls_context sni max_session_keys"),
    _TLS + "DownstreamTlsContext": fields(
        "common_tls_context require_client_certificate disable_stateless_session_resumption"
        " disable_stateful_session_resumption"
    ),
    _TLS + "CommonTlsContext": fields(
        "tls_params tls_certificate_sds_secret_configs combined_validation_context alpn_protocols"
    ),
    _TLS + "CommonTlsContext.CombinedCertificateValidationContext": fields(
        "default_validation_context validation_context_sds_secret_config"
    ),
    _TLS + "TlsParameters": fields("tls_minimum_protocol_version tls_maximum_protocol_version"),
    _TLS + "SdsSecretConfig": fields("name sds_config"),
    _TLS + "CertificateValidationContext": fields("match_typed_subject_alt_names"),
    _TLS + "SubjectAltNameMatcher": fields("san_type matcher"),
    "envoy.type.matcher.v3.StringMatcher": fields("exact prefix suffix contains safe_regex ignore_case"),
    "envoy.config.core.v3.ConfigSource": fields("api_config_source ads resource_api_version"),
    "envoy.config.core.v3.AggregatedConfigSource": fields(""),
    "envoy.config.core.v3.ApiConfigSource": fields("api_type transport_api_version grpc_services"),
    "envoy.config.core.v3.GrpcService": fields("envoy_grpc"),
    "envoy.config.core.v3.GrpcService.EnvoyGrpc": fields("cluster_name"),
}

AGENT_CLUSTER = "agent"  # the static cluster of the bootstrap that leads to the agent's socket
_GRPC_KINDS = (config_source_pb2.ApiConfigSource.GRPC, config_source_pb2.ApiConfigSource.DELTA_GRPC)


def compile_upstream_tls(socket: Any, at: Place) -> UpstreamTls:
    """Compile what a cluster says of TLS.

    Raises:
        ConfigNack: above all when it does not say whom to believe.
    """
    at = at.field("typed_config")
    context = open_typed(socket.typed_config, tls_pb2.UpstreamTlsContext, at)
    if context.HasField("max_session_keys") and context.max_session_keys.value:
        raise at.field("max_session_keys").not_implemented("session resumption (it outlives an SVID), only 0 is right,")
    common, where = context.common_tls_context, at.field("common_tls_context")
    certificate, validation, names, where_names = _common(common, where)
    expected = frozenset(_pattern(name, "exact", place) for name, place in where_names.each(_NAMES, names))
    if not expected:
        raise where_names.nack("a cluster has to say which SPIFFE IDs it expects")
    return UpstreamTls(certificate, validation, expected, context.sni, tuple(common.alpn_protocols))


def compile_downstream_tls(socket: Any, at: Place) -> DownstreamTls:
    """Compile what a filter chain says of TLS.

    Raises:
        ConfigNack: above all when callers need not prove who they are.
    """
    at = at.field("typed_config")
    context = open_typed(socket.typed_config, tls_pb2.DownstreamTlsContext, at)
    if not context.require_client_certificate.value:
        raise at.field("require_client_certificate").not_implemented("TLS without a client certificate")
    common, where = context.common_tls_context, at.field("common_tls_context")
    certificate, validation, names, where_names = _common(common, where)
    if len(names) > 1:
        raise where_names.field(_NAMES).not_implemented("more than one name pattern for callers")
    prefixes = [_pattern(name, "prefix", place) for name, place in where_names.each(_NAMES, names)]
    return DownstreamTls(certificate, validation, "".join(prefixes), tuple(common.alpn_protocols))


_NAMES = "match_typed_subject_alt_names"


def _common(common: Any, at: Place) -> tuple[str, str, Any, Place]:
    """Return both secret names, the name patterns, and their place."""
    _require_tls_1_3(common.tls_params, at.field("tls_params"))
    certificates = common.tls_certificate_sds_secret_configs
    if len(certificates) != 1:
        raise at.field("tls_certificate_sds_secret_configs").nack(f"exactly 1 is right, found {len(certificates)}")
    certificate = _secret(certificates[0], at.field("tls_certificate_sds_secret_configs", 0))
    combined, where = common.combined_validation_context, at.field("combined_validation_context")
    validation = _secret(
        combined.validation_context_sds_secret_config, where.field("validation_context_sds_secret_config")
    )
    names = combined.default_validation_context.match_typed_subject_alt_names
    return certificate, validation, names, where.field("default_validation_context")


def _require_tls_1_3(params: Any, at: Place) -> None:
    wanted = common_pb2.TlsParameters.TLSv1_3
    for name in ("tls_minimum_protocol_version", "tls_maximum_protocol_version"):
        if getattr(params, name) != wanted:
            raise at.field(name).not_implemented("another version than TLSv1_3")


def _secret(config: Any, at: Place) -> str:
    if not config.name:
        raise at.field("name").nack("a secret needs a name")
    source, where = config.sds_config.api_config_source, at.field("sds_config").field("api_config_source")
    clusters = [service.envoy_grpc.cluster_name for service in source.grpc_services]
    if source.api_type not in _GRPC_KINDS or clusters != [AGENT_CLUSTER]:
        raise where.not_implemented(f"fetching a secret other than by gRPC from the cluster {AGENT_CLUSTER!r}")
    name: str = config.name
    return name


def _pattern(name: Any, kind: str, at: Place) -> str:
    if name.san_type != common_pb2.SubjectAltNameMatcher.URI:
        raise at.field("san_type").not_implemented("a name other than a URI")
    if name.matcher.WhichOneof("match_pattern") != kind or name.matcher.ignore_case:
        raise at.field("matcher").not_implemented(f"a pattern other than {kind!r} here")
    pattern: str = getattr(name.matcher, kind)
    return pattern
