"""Joined bytes are what protobuf would have written."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from mesh.xds.server.wire import delta_response, sotw_response
from mesh.xds.types import Resource
from tests.fakes.discovery import resource

NAMES = st.text(min_size=1, max_size=300)
RESOURCES = st.lists(
    st.builds(
        lambda url, name, version, body: Resource(url, name, version, resource(url, "x", body).body),
        st.just("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        NAMES,
        NAMES,
        NAMES,
    ),
    max_size=5,
)


@given(NAMES, NAMES, RESOURCES)
def test_a_state_of_the_world_response_reads_back(version: str, nonce: str, resources: list[Resource]) -> None:
    read = DiscoveryResponse.FromString(sotw_response("type", version, nonce, resources))
    assert (read.type_url, read.version_info, read.nonce) == ("type", version, nonce)
    assert [one.SerializeToString() for one in read.resources] == [one.body for one in resources]


@given(NAMES, NAMES, RESOURCES, st.lists(NAMES, max_size=5))
def test_a_delta_response_reads_back(version: str, nonce: str, resources: list[Resource], removed: list[str]) -> None:
    read = DeltaDiscoveryResponse.FromString(delta_response("type", version, nonce, resources, removed))
    assert (read.type_url, read.system_version_info, read.nonce) == ("type", version, nonce)
    assert [(one.name, one.version) for one in read.resources] == [(one.name, one.version) for one in resources]
    assert [one.resource.SerializeToString() for one in read.resources] == [one.body for one in resources]
    assert list(read.removed_resources) == removed
