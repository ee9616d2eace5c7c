"""TLS contexts: prove who we are, demand a proof, and keep every secret out of the resources.

A context names its secrets; the bytes come by SDS from the agent of the same host, so that a private key never passes
through the control plane. Sessions are never resumed: a resumed session skips the certificate check and would
outlive the SVID it once rested on.
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.xds.build.pack import packed, uint32

OWN_CERTIFICATE = "default"
TRUST_BUNDLE = "ROOTCA"
AGENT_CLUSTER = "agent"
TRANSPORT_SOCKET = "envoy.transport_sockets.tls"


def upstream_tls(expected_id: str, sni: str, alpn: tuple[str, ...] = ()) -> base_pb2.TransportSocket:
    """Return the client's side: our SVID, and the one SPIFFE ID that the other side must prove."""
    matcher = string_pb2.StringMatcher(exact=expected_id)
    context = tls_pb2.UpstreamTlsContext(common_tls_context=_common(matcher, alpn), sni=sni, max_session_keys=uint32(0))
    return base_pb2.TransportSocket(name=TRANSPORT_SOCKET, typed_config=packed(context))


def downstream_tls(trust_domain: str, alpn: tuple[str, ...] = ()) -> base_pb2.TransportSocket:
    """Return the server's side: our SVID, and any member of the trust domain; who may do what is RBAC's part."""
    matcher = string_pb2.StringMatcher(prefix=f"spiffe://{trust_domain}/")
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_common(matcher, alpn),
        require_client_certificate=BoolValue(value=True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return base_pb2.TransportSocket(name=TRANSPORT_SOCKET, typed_config=packed(context))


def _common(peer: string_pb2.StringMatcher, alpn: tuple[str, ...]) -> tls_pb2.CommonTlsContext:
    """Return what both sides share: TLS 1.3 and nothing older, secrets by name, the peer's URI SAN checked."""
    only = common_pb2.TlsParameters.TLSv1_3
    matcher = common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=peer)
    return tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=only, tls_maximum_protocol_version=only),
        tls_certificate_sds_secret_configs=[_secret(OWN_CERTIFICATE)],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=[matcher]),
            validation_context_sds_secret_config=_secret(TRUST_BUNDLE),
        ),
        alpn_protocols=alpn,
    )


def _secret(name: str) -> secret_pb2.SdsSecretConfig:
    """Return where a secret comes from: the agent's SDS, under the cluster that the bootstrap defines."""
    return secret_pb2.SdsSecretConfig(name=name, sds_config=agent_source())


def agent_source() -> config_source_pb2.ConfigSource:
    """Return the config source of the agent's unix socket."""
    grpc = grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=AGENT_CLUSTER))
    return config_source_pb2.ConfigSource(
        resource_api_version=config_source_pb2.V3,
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.GRPC,
            transport_api_version=config_source_pb2.V3,
            grpc_services=[grpc],
        ),
    )


def ads_source() -> config_source_pb2.ConfigSource:
    """Return the config source "the one stream everything else comes by"."""
    return config_source_pb2.ConfigSource(
        resource_api_version=config_source_pb2.V3, ads=config_source_pb2.AggregatedConfigSource()
    )
