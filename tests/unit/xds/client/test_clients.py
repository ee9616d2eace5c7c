"""The client machines: what is asked, what is held, what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import Update, client_node
from mesh.xds.client.sotw import SotwClient
from mesh.xds.framing import field
from mesh.xds.server.wire import delta_response, sotw_response
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, Resource
from tests.fakes.discovery import BAD, refuse_bad, resource

A1, A2, B1 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2"), resource(CLUSTER, "b", "1")
BAD_B = resource(CLUSTER, "b", BAD)
EDS_A, EDS_B = resource(ENDPOINTS, "a"), resource(ENDPOINTS, "b")
NODE = client_node("order-1", "order-service", "east")


def delta_client() -> DeltaClient:
    client = DeltaClient(NODE)
    client.watch(CLUSTER, None)
    client.open()
    return client


def sotw_client() -> SotwClient:
    client = SotwClient(NODE)
    client.watch(CLUSTER, None)
    client.open()
    return client


def take(client: DeltaClient | SotwClient, url: str, *resources: Resource, removed: str = "", nonce: str = "n") -> str:
    """Give a response to a client; return `ACK`, or the text of the NACK."""
    if isinstance(client, DeltaClient):
        delta = DeltaDiscoveryResponse.FromString(delta_response(url, "v", nonce, resources, removed.split()))
        (answer,) = client.receive(delta, refuse_bad)
    else:
        full = DiscoveryResponse.FromString(sotw_response(url, f"version of {nonce}", nonce, resources))
        (answer,) = client.receive(full, refuse_bad)
    assert answer.response_nonce == nonce
    assert not answer.HasField("node"), "the node is told once per stream"
    return answer.error_detail.message if answer.HasField("error_detail") else "ACK"


@pytest.fixture(params=[delta_client, sotw_client], ids=["delta", "sotw"])
def client(request: pytest.FixtureRequest) -> DeltaClient | SotwClient:
    made: DeltaClient | SotwClient = request.param()
    return made


def names(client: DeltaClient | SotwClient, url: str = CLUSTER) -> set[str]:
    return set(client.held.get(url, {}))


def test_what_is_accepted_is_held_and_acknowledged(client: DeltaClient | SotwClient) -> None:
    assert take(client, CLUSTER, A1, B1) == "ACK"
    assert client.held[CLUSTER]["a"].body == A1.body
    assert client.held[CLUSTER]["a"].version == A1.version


def test_what_is_refused_leaves_everything_as_it_was(client: DeltaClient | SotwClient) -> None:
    take(client, CLUSTER, A1)
    assert take(client, CLUSTER, A2, BAD_B) == "b is bad"
    assert client.held[CLUSTER]["a"].body == A1.body
    assert names(client) == {"a"}


def test_the_same_name_twice_is_refused(client: DeltaClient | SotwClient) -> None:
    assert "'a' comes twice" in take(client, CLUSTER, A1, A2)
    assert names(client) == set()


def test_a_resource_of_another_type_is_refused(client: DeltaClient | SotwClient) -> None:
    assert "it holds a" in take(client, CLUSTER, EDS_A)


def test_a_type_that_was_not_asked_for_is_ignored(client: DeltaClient | SotwClient) -> None:
    response = (DeltaDiscoveryResponse if isinstance(client, DeltaClient) else DiscoveryResponse)(type_url=LISTENER)
    assert client.receive(response, refuse_bad) == []


def test_what_is_offered_is_held_only_when_that_is_settled(client: DeltaClient | SotwClient) -> None:
    offer: Any
    if isinstance(client, DeltaClient):
        offer = client.offer(DeltaDiscoveryResponse.FromString(delta_response(CLUSTER, "v", "n", [A1], [])))
    else:
        offer = client.offer(DiscoveryResponse.FromString(sotw_response(CLUSTER, "v", "n", [A1])))
    assert names(client) == set()
    (nack,) = client.settle(offer, "not yet")
    assert (nack.error_detail.message, names(client)) == ("not yet", set())
    (ack,) = client.settle(offer, None)
    assert (ack.response_nonce, names(client)) == ("n", {"a"})


def test_names_that_were_not_asked_for_are_not_held(client: DeltaClient | SotwClient) -> None:
    client.watch(ENDPOINTS, {"a"})
    assert take(client, ENDPOINTS, EDS_A, EDS_B) == "ACK"
    assert names(client, ENDPOINTS) == {"a"}


def test_what_is_no_longer_wanted_is_no_longer_held(client: DeltaClient | SotwClient) -> None:
    client.watch(ENDPOINTS, {"a", "b"})
    take(client, ENDPOINTS, EDS_A, EDS_B)
    client.watch(ENDPOINTS, {"b"})
    assert names(client, ENDPOINTS) == {"b"}


def test_what_was_asked_for_and_has_not_come_is_missing(client: DeltaClient | SotwClient) -> None:
    client.watch(ENDPOINTS, {"a", "b"})
    take(client, ENDPOINTS, EDS_A)
    assert client.missing(ENDPOINTS) == {"b"}


def test_asking_for_the_same_again_says_nothing(client: DeltaClient | SotwClient) -> None:
    assert client.watch(ENDPOINTS, {"a"})
    assert client.watch(ENDPOINTS, {"a"}) == []


def test_nothing_wanted_is_not_said_as_a_first_request(client: DeltaClient | SotwClient) -> None:
    assert client.watch(LISTENER, ()) == [], "an empty first request would ask for every listener"


def test_the_node_is_told_on_the_first_request_of_each_stream() -> None:
    for client in (DeltaClient(NODE), SotwClient(NODE)):
        client.watch(CLUSTER, None)
        client.watch(LISTENER, None)
        for _ in range(2):
            first, second = client.open()
            assert first.node.id == "order-1/order-service"
            assert not second.HasField("node")
            client.close()


def test_without_a_stream_nothing_is_said_and_nothing_is_lost(client: DeltaClient | SotwClient) -> None:
    take(client, CLUSTER, A1)
    client.close()
    assert client.watch(ENDPOINTS, {"a"}) == []
    assert names(client) == {"a"}
    assert {one.type_url for one in client.open()} == {CLUSTER, ENDPOINTS}


def test_an_update_says_what_changed_and_what_would_be_held(client: DeltaClient | SotwClient) -> None:
    take(client, CLUSTER, A1)
    seen: list[Update] = []
    if isinstance(client, DeltaClient):
        client.receive(DeltaDiscoveryResponse.FromString(delta_response(CLUSTER, "v", "n", [B1], ["a"])), seen.append)
    else:
        client.receive(DiscoveryResponse.FromString(sotw_response(CLUSTER, "v", "n", [B1])), seen.append)
    (update,) = seen
    assert (update.changed, update.removed) == ({"b"}, {"a"})
    assert set(update.candidate[CLUSTER]) == {"b"}


def test_delta_says_after_a_reconnect_what_it_holds() -> None:
    client = delta_client()
    take(client, CLUSTER, A1)
    client.close()
    (request,) = client.open()
    assert dict(request.initial_resource_versions) == {"a": A1.version}
    assert list(request.resource_names_subscribe) == ["*"]


def test_delta_tells_only_the_difference_of_names() -> None:
    client = delta_client()
    client.watch(ENDPOINTS, {"a", "b"})
    (request,) = client.watch(ENDPOINTS, {"b", "c"})
    assert request == DeltaDiscoveryRequest(
        type_url=ENDPOINTS, resource_names_subscribe=["c"], resource_names_unsubscribe=["a"]
    )


def test_delta_drops_what_is_removed() -> None:
    client = delta_client()
    take(client, CLUSTER, A1, B1)
    assert take(client, CLUSTER, removed="a") == "ACK"
    assert names(client) == {"b"}


def test_delta_refuses_a_name_that_both_comes_and_goes() -> None:
    assert "both comes and goes" in take(delta_client(), CLUSTER, A1, removed="a")


def test_sotw_drops_a_cluster_that_is_absent_and_keeps_endpoints_that_are() -> None:
    client = sotw_client()
    client.watch(ENDPOINTS, {"a", "b"})
    take(client, CLUSTER, A1, B1)
    take(client, CLUSTER, B1)
    take(client, ENDPOINTS, EDS_A)
    take(client, ENDPOINTS, EDS_B)
    assert names(client) == {"b"}
    assert names(client, ENDPOINTS) == {"a", "b"}


def test_sotw_acknowledges_with_the_new_version_and_refuses_with_the_old_one() -> None:
    client = sotw_client()
    (ack,) = client.receive(DiscoveryResponse.FromString(sotw_response(CLUSTER, "1", "x", [A1])), refuse_bad)
    (nack,) = client.receive(DiscoveryResponse.FromString(sotw_response(CLUSTER, "2", "y", [BAD_B])), refuse_bad)
    assert ack == DiscoveryRequest(type_url=CLUSTER, version_info="1", response_nonce="x", resource_names=["*"])
    assert (nack.version_info, nack.response_nonce, nack.error_detail.message) == ("1", "y", "b is bad")


def test_sotw_refuses_bytes_that_are_no_message() -> None:
    broken = Resource(CLUSTER, "a", "1", field(1, CLUSTER.encode()) + field(2, b"\xff"))
    assert "not a message of this type" in take(sotw_client(), CLUSTER, broken)
