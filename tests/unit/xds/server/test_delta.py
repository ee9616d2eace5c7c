"""The rules of delta xDS, one conversation each."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.rpc.status_pb2 import Status as ErrorDetail

from mesh.base.errors import RemoteProtocolError
from mesh.xds.server import subscription
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.subscription import Status
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.discovery import View, resource, view_of

A1, A2, B1 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2"), resource(CLUSTER, "b", "1")
EDS_A1, EDS_A2, EDS_B1 = resource(ENDPOINTS, "a", "1"), resource(ENDPOINTS, "a", "2"), resource(ENDPOINTS, "b", "1")
L1, L2 = resource(LISTENER, "l", "1"), resource(LISTENER, "l", "2")


class Talk:
    """A stream, written as what a client says and what it hears: `CDS +a -b` with the nonce kept aside."""

    def __init__(self, view: View) -> None:
        self.stream = DeltaStream(view)
        self.nonces: dict[str, str] = {}

    def says(
        self,
        url: str,
        subscribe: str = "",
        unsubscribe: str = "",
        nonce: str = "",
        error: str = "",
        held: dict[str, str] | None = None,
    ) -> list[str]:
        request = DeltaDiscoveryRequest(
            type_url=url,
            resource_names_subscribe=subscribe.split(),
            resource_names_unsubscribe=unsubscribe.split(),
            response_nonce=nonce,
            error_detail=ErrorDetail(code=3, message=error) if error else None,
            initial_resource_versions=held or {},
        )
        return self.heard(self.stream.receive(request))

    def acks(self, url: str) -> list[str]:
        return self.says(url, nonce=self.nonces[url])

    def nacks(self, url: str, error: str = "not like this") -> list[str]:
        return self.says(url, nonce=self.nonces[url], error=error)

    def shows(self, view: View, changes: dict[str, list[str]] | None = None) -> list[str]:
        return self.heard(self.stream.update(view, changes))

    def heard(self, responses: list[bytes]) -> list[str]:
        told = []
        for encoded in responses:
            response = DeltaDiscoveryResponse.FromString(encoded)
            self.nonces[response.type_url] = response.nonce
            words = [{CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS"}[response.type_url]]
            words += [f"+{one.name}" for one in response.resources]
            words += [f"-{name}" for name in response.removed_resources]
            told.append(" ".join(words))
        return told

    def status(self, url: str) -> Status:
        return self.stream.status()[url].status


def test_a_first_request_without_names_asks_for_all_clusters() -> None:
    assert Talk(view_of(A1, B1)).says(CLUSTER) == ["CDS +a +b"]


def test_a_first_request_without_names_asks_for_no_endpoints() -> None:
    assert Talk(view_of(EDS_A1)).says(ENDPOINTS) == []


def test_a_wildcard_is_answered_even_when_there_is_nothing() -> None:
    assert Talk({}).says(LISTENER) == ["LDS"]


def test_a_wildcard_may_be_mixed_with_names() -> None:
    assert Talk(view_of(A1, B1)).says(CLUSTER, "* a") == ["CDS +a +b"]


def test_names_alone_are_no_wildcard() -> None:
    assert Talk(view_of(A1, B1)).says(CLUSTER, "b") == ["CDS +b"]


def test_an_ack_is_not_answered() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    assert talk.acks(CLUSTER) == []
    assert talk.status(CLUSTER) is Status.SYNCED


def test_each_response_of_a_type_has_another_nonce() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    first = talk.nonces[CLUSTER]
    talk.acks(CLUSTER)
    talk.shows(view_of(A2))
    assert talk.nonces[CLUSTER] != first


def test_what_did_not_change_is_not_sent() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    assert talk.shows(view_of(A1, B1)) == []
    assert talk.shows(view_of(A2, B1), {CLUSTER: ["a", "b"]}) == ["CDS +a"]


def test_changes_while_a_response_is_in_flight_go_in_one_response_with_the_ack() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    assert talk.shows(view_of(A2)) == []
    assert talk.shows(view_of(A2, B1)) == []
    assert talk.status(CLUSTER) is Status.PENDING
    assert talk.acks(CLUSTER) == ["CDS +a +b"]


def test_a_subscription_counts_even_with_a_stale_nonce() -> None:
    talk = Talk(view_of(EDS_A1, EDS_B1))
    talk.says(ENDPOINTS, "a")
    assert talk.says(ENDPOINTS, "b", nonce="no such nonce") == []
    assert talk.status(ENDPOINTS) is Status.PENDING
    assert talk.acks(ENDPOINTS) == ["EDS +b"]


def test_a_stale_ack_acknowledges_nothing() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    talk.says(CLUSTER, nonce="0")
    assert talk.stream.status()[CLUSTER].acked == ""


def test_a_name_that_does_not_exist_is_answered_as_removed() -> None:
    assert Talk({}).says(ENDPOINTS, "ghost") == ["EDS -ghost"]


def test_a_name_that_appears_later_is_sent() -> None:
    talk = Talk({})
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.shows(view_of(EDS_A1)) == ["EDS +a"]


def test_subscribing_again_sends_again() -> None:
    talk = Talk(view_of(EDS_A1))
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.says(ENDPOINTS, "a") == ["EDS +a"]


def test_what_is_unsubscribed_is_not_sent() -> None:
    talk = Talk(view_of(EDS_A1, EDS_B1))
    talk.says(ENDPOINTS, "a b")
    talk.acks(ENDPOINTS)
    assert talk.says(ENDPOINTS, unsubscribe="a") == []
    assert talk.shows(view_of(EDS_A2, EDS_B1)) == []


def test_under_a_wildcard_unsubscribing_is_answered_with_the_state_of_the_name() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER, "* a ghost")
    talk.acks(CLUSTER)
    assert talk.says(CLUSTER, unsubscribe="a ghost") == ["CDS +a -ghost"]


def test_when_the_wildcard_ends_only_names_count() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER, "* a")
    talk.acks(CLUSTER)
    talk.says(CLUSTER, unsubscribe="*")
    assert talk.shows(view_of(A2, resource(CLUSTER, "b", "2"))) == ["CDS +a"]


def test_after_a_reconnect_only_the_difference_is_sent() -> None:
    talk = Talk(view_of(A2, B1))
    talk.says(LISTENER)
    talk.acks(LISTENER)
    held = {"a": A1.version, "b": B1.version, "c": "1"}
    assert talk.says(CLUSTER, held=held) == ["CDS +a"]
    assert talk.acks(CLUSTER) == ["CDS -c"]


def test_after_a_reconnect_names_that_are_still_right_are_not_sent() -> None:
    held = {"a": EDS_A1.version, "b": "old"}
    assert Talk(view_of(EDS_A1, EDS_B1)).says(ENDPOINTS, "a b", held=held) == ["EDS +b"]


def test_a_refused_version_is_not_sent_again() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    assert talk.nacks(CLUSTER, "no such field") == []
    assert talk.shows(view_of(A1)) == []
    assert talk.stream.status()[CLUSTER] == subscription.TypeStatus(
        Status.NACK, talk.stream.status()[CLUSTER].sent, "", "no such field"
    )


def test_a_new_version_after_a_refused_one_is_sent() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    talk.nacks(CLUSTER)
    assert talk.shows(view_of(A2)) == ["CDS +a"]


def test_what_was_refused_beside_a_bad_resource_goes_again_when_that_one_changes() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER)
    talk.nacks(CLUSTER)
    assert talk.shows(view_of(A2, B1)) == ["CDS +a +b"]


def test_going_back_to_what_the_client_holds_ends_a_refusal() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    talk.shows(view_of(A2))
    talk.nacks(CLUSTER)
    assert talk.status(CLUSTER) is Status.NACK
    assert talk.shows(view_of(A1)) == []
    assert talk.status(CLUSTER) is Status.SYNCED


def test_a_changed_cluster_has_its_endpoints_sent_again() -> None:
    talk = Talk(view_of(A1, EDS_A1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.shows(view_of(A2, EDS_A1)) == ["CDS +a", "EDS +a"]


def in_full_swing(view: View) -> Talk:
    """Return a client that has asked for everything and taken it."""
    talk = Talk(view)
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    talk.says(ENDPOINTS, " ".join(view.get(ENDPOINTS, {})))
    talk.acks(ENDPOINTS)
    talk.says(LISTENER)
    talk.acks(LISTENER)
    return talk


def test_a_move_to_a_new_cluster_goes_make_before_break() -> None:
    talk = in_full_swing(view_of(A1, EDS_A1, L1))
    assert talk.shows(view_of(B1, EDS_B1, L2)) == ["CDS +b"]
    assert talk.acks(CLUSTER) == []  # the new cluster has no endpoints yet
    assert talk.says(ENDPOINTS, "b") == ["EDS +b"]
    assert talk.acks(ENDPOINTS) == ["LDS +l"]
    assert talk.acks(LISTENER) == ["CDS -a", "EDS -a"]


def test_a_proxy_that_starts_has_its_clusters_whole_before_it_has_listeners() -> None:
    talk = Talk(view_of(A1, EDS_A1, L1))
    talk.says(CLUSTER)
    assert talk.says(LISTENER) == []
    assert talk.acks(CLUSTER) == []
    assert talk.says(ENDPOINTS, "a") == ["EDS +a"]
    assert talk.acks(ENDPOINTS) == ["LDS +l"]


def test_while_the_new_listener_is_refused_the_old_cluster_stays() -> None:
    talk = in_full_swing(view_of(A1, EDS_A1, L1))
    assert talk.shows(view_of(L2)) == ["LDS +l"]
    assert talk.nacks(LISTENER) == []
    assert talk.shows(view_of(resource(LISTENER, "l", "3"))) == ["LDS +l"]
    assert talk.acks(LISTENER) == ["CDS -a", "EDS -a"]


def test_a_refused_cluster_does_not_hold_up_listeners() -> None:
    talk = in_full_swing(view_of(A1, EDS_A1, L1))
    assert talk.shows(view_of(A2, EDS_A1, L2)) == ["CDS +a", "EDS +a"]
    assert talk.nacks(CLUSTER) == ["LDS +l"]


def test_endpoints_that_come_and_go_do_not_hold_up_listeners() -> None:
    talk = in_full_swing(view_of(A1, EDS_A1, L1))
    assert talk.shows(view_of(A1, EDS_A2, L1)) == ["EDS +a"]
    assert talk.shows(view_of(A1, EDS_A2, L2)) == ["LDS +l"]


def test_a_type_that_is_not_served_is_ignored() -> None:
    assert Talk({}).says("type.googleapis.com/envoy.service.runtime.v3.Runtime") == []


def test_too_many_names_are_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "MAX_NAMES", 2)
    with pytest.raises(RemoteProtocolError, match="more than 2 names"):
        Talk({}).says(ENDPOINTS, "a b c")


def test_a_type_nobody_asked_for_says_never() -> None:
    assert Talk({}).status(ROUTES) is Status.NEVER


def test_a_cluster_that_changed_between_two_streams_has_its_endpoints_sent_again() -> None:
    """The client lists endpoints that it holds; those of a changed cluster it waits for all the same."""
    talk = Talk(view_of(A2, EDS_A1, L2))
    assert talk.says(CLUSTER, held={"a": A1.version}) == ["CDS +a"]
    assert talk.says(LISTENER, held={"l": L1.version}) == []
    assert talk.says(ENDPOINTS, "a", held={"a": EDS_A1.version}) == ["EDS +a"]
    assert talk.acks(CLUSTER) == []
    assert talk.acks(ENDPOINTS) == ["LDS +l"]
