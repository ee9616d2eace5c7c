"""What Envoy is told so that it does as this proxy does: told otherwise, this proxy refuses rather than differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.any_pb2 import Any as Packed

from mesh.proxy.tables.compile_managers import compile_manager
from mesh.proxy.tables.nack import ConfigNack, Place
from mesh.xds.build.claims import without_claims
from mesh.xds.build.resources import build_resources
from mesh.xds.types import LISTENER
from tests.fakes.sample_mesh import ACCESS_LOG, PAYMENT


def manager_of(listener: str, chain: str) -> Any:
    """Return a connection manager as the control plane builds it."""
    made = Listener()
    Packed.FromString(build_resources(PAYMENT, ACCESS_LOG)[LISTENER][listener].body).Unpack(made)
    (found,) = [one for one in made.filter_chains if one.name == chain]
    config = HttpConnectionManager()
    found.filters[-1].typed_config.Unpack(config)
    return config


INBOUND, OUTBOUND = ("inbound", "inbound_payment-service"), ("outbound", "outbound_order-service")


def believe_peers(config: Any) -> None:
    config.use_remote_address.value = True


def believe_nobody(config: Any) -> None:
    config.ClearField("internal_address_config")


def append_address(config: Any) -> None:
    config.skip_xff_append = False


def refuse_http_10(config: Any) -> None:
    config.http_protocol_options.accept_http_10 = False


def map_another_status(config: Any) -> None:
    config.local_reply_config.mappers[1].filter.status_code_filter.comparison.value.default_value = 404


def reword_a_failure(config: Any) -> None:
    config.local_reply_config.mappers[0].body_format_override.text_format_source.inline_string = "x"


def let_claims_pass(config: Any) -> None:
    config.ClearField("early_header_mutation_extensions")


def believe_a_peers_wishes(config: Any) -> None:
    config.ClearField("early_header_mutation_extensions")
    config.early_header_mutation_extensions.append(without_claims(is_behind_sidecar=False))


@pytest.mark.parametrize("where", [INBOUND, OUTBOUND])
def test_as_it_is_built_it_is_taken(where: tuple[str, str]) -> None:
    compile_manager(manager_of(*where), Place("x"), is_inbound=where is INBOUND)


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        pytest.param(INBOUND, believe_peers, "believing a peer's", id="a peer's x-envoy- fields"),
        pytest.param(OUTBOUND, believe_nobody, "not believing the application's", id="not even the application's"),
        pytest.param(OUTBOUND, append_address, "writing x-forwarded-for", id="x-forwarded-for"),
        pytest.param(INBOUND, refuse_http_10, "refusing HTTP/1.0", id="without HTTP/1.0"),
        pytest.param(INBOUND, let_claims_pass, "names that only the mesh may say", id="claims pass"),
        pytest.param(OUTBOUND, let_claims_pass, "names that only the mesh may say", id="claims pass outbound"),
        pytest.param(INBOUND, believe_a_peers_wishes, "names that only the mesh may say", id="a peer's wishes"),
        pytest.param(INBOUND, map_another_status, "a mapper by status", id="another status"),
        pytest.param(INBOUND, reword_a_failure, "another body for a flag", id="another body"),
    ],
)
def test_told_otherwise_it_refuses(where: tuple[str, str], change: Callable[[Any], None], said: str) -> None:
    config = manager_of(*where)
    change(config)
    with pytest.raises(ConfigNack, match=said):
        compile_manager(config, Place("x"), is_inbound=where is INBOUND)
