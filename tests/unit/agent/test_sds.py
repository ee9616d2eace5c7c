"""Two secrets, one consistent pair, and versions that say nothing of the key."""

from __future__ import annotations

import ssl
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.agent.identity import Identity
from mesh.agent.sds import secrets_of
from mesh.xds.server.delta import DeltaStream
from mesh.xds.types import SECRET
from tests.fakes.identities import Issuer


def unpack(body: bytes) -> secret_pb2.Secret:
    secret = secret_pb2.Secret()
    assert AnyMessage.FromString(body).Unpack(secret)
    return secret


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    identity = Issuer.fresh().identity()
    own = unpack(secrets_of(identity)[SECRET]["default"].body)
    pair = tmp_path / "pair.pem"
    pair.write_bytes(own.tls_certificate.private_key.inline_bytes + own.tls_certificate.certificate_chain.inline_bytes)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair)
    root = unpack(secrets_of(identity)[SECRET]["ROOTCA"].body)
    assert root.validation_context.trusted_ca.inline_bytes == identity.bundle.to_pem()
    validator = SPIFFECertValidatorConfig()
    assert root.validation_context.custom_validator_config.typed_config.Unpack(validator), "for Envoy"
    (domain,) = validator.trust_domains
    assert (domain.name, domain.trust_bundle.inline_bytes) == (identity.bundle.trust_domain, identity.bundle.to_pem())


def test_a_renewal_changes_the_pair_and_not_the_roots() -> None:
    issuer = Issuer.fresh()
    before, after = (secrets_of(issuer.identity())[SECRET] for _ in range(2))
    assert before["default"].version != after["default"].version
    assert before["ROOTCA"].version == after["ROOTCA"].version


def test_the_same_certificate_has_the_same_version_whatever_the_key_bytes() -> None:
    identity = Issuer.fresh().identity()
    again = Identity(identity.svid, identity.bundle)
    assert secrets_of(identity)[SECRET]["default"].version == secrets_of(again)[SECRET]["default"].version


def test_a_stream_gets_each_new_pair_in_one_response() -> None:
    issuer = Issuer.fresh()
    stream = DeltaStream(secrets_of(issuer.identity()), (SECRET,))
    ask = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=["default", "ROOTCA"])
    [first] = [discovery_pb2.DeltaDiscoveryResponse.FromString(each) for each in stream.receive(ask)]
    assert {resource.name for resource in first.resources} == {"default", "ROOTCA"}
    assert stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, response_nonce=first.nonce)) == []
    renewed = secrets_of(issuer.identity())
    [second] = [discovery_pb2.DeltaDiscoveryResponse.FromString(each) for each in stream.update(renewed)]
    assert [resource.name for resource in second.resources] == ["default"]
