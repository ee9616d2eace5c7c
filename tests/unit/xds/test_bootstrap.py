"""The bootstrap is read back as it was written, and a broken one says where."""

from __future__ import annotations

import json

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap as EnvoyBootstrap
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # the Any inside needs its type
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import ConfigError
from mesh.xds.bootstrap import Bootstrap, read_bootstrap, write_bootstrap

assert http_protocol_options_pb2

SAMPLE = Bootstrap(
    host="payment-1",
    service="payment-service",
    datacenter="east",
    control_plane_address="10.77.1.2",
    control_plane_port=8502,
    control_plane_id="spiffe://dominos.internal/ns/mesh/sa/control-plane",
    control_plane_name="control-plane.mesh",
    agent_socket="/run/mesh/agent.sock",
)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
PORTS = st.integers(1, 65535)


@given(st.builds(Bootstrap, WORDS, WORDS, WORDS, WORDS, PORTS, WORDS, WORDS, WORDS, WORDS, PORTS, st.booleans()))
def test_what_is_written_is_read_back(values: Bootstrap) -> None:
    assert read_bootstrap(write_bootstrap(values)) == values


def test_it_is_a_bootstrap_of_envoy() -> None:
    read = Parse(write_bootstrap(SAMPLE), EnvoyBootstrap())
    assert read.node.id == "payment-1/payment-service"
    assert [cluster.name for cluster in read.static_resources.clusters] == ["control_plane", "agent"]


def broken(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_bootstrap(text, "/run/mesh/bootstrap.json")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        pytest.param(["node", "metadata", "host"], None, "node.metadata.host: metadata has no 'host'", id="missing"),
        pytest.param(["node", "metadata", "host"], 7, "node.metadata.host: found 7", id="of another kind"),
        pytest.param(
            ["admin", "address", "socket_address", "port_value"], True, "port_value: found True", id="true is no number"
        ),
        pytest.param(
            ["dynamic_resources", "ads_config", "api_type"], "REST", "one of DELTA_GRPC, GRPC", id="not a known word"
        ),
        pytest.param(["static_resources", "clusters"], [], "no cluster is named 'control_plane'", id="no cluster"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(path: list[str], value: object, complaint: str) -> None:
    shape = json.loads(write_bootstrap(SAMPLE))
    inner = shape
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert complaint in broken(json.dumps(shape))


def test_each_stream_to_the_control_plane_proves_a_certificate_of_its_own_time() -> None:
    control_plane, agent = Parse(write_bootstrap(SAMPLE), EnvoyBootstrap()).static_resources.clusters
    for cluster, streams in ((control_plane, 1), (agent, 0)):  # 0: as many as one likes
        options = http_protocol_options_pb2.HttpProtocolOptions()
        [packed] = cluster.typed_extension_protocol_options.values()
        packed.Unpack(options)
        assert options.common_http_protocol_options.max_requests_per_connection.value == streams, cluster.name


def test_what_is_not_json_is_refused_with_line_and_column() -> None:
    assert broken('{\n "node": ]').startswith("/run/mesh/bootstrap.json:2:")
