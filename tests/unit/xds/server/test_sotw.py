"""The rules of state-of-the-world xDS, one conversation each."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status as ErrorDetail

from mesh.xds.server.sotw import SotwStream
from mesh.xds.server.subscription import Status
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.discovery import View, resource, view_of

A1, A2, B1 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2"), resource(CLUSTER, "b", "1")
EDS_A1, EDS_A2, EDS_B1 = resource(ENDPOINTS, "a", "1"), resource(ENDPOINTS, "a", "2"), resource(ENDPOINTS, "b", "1")
L1, L2 = resource(LISTENER, "l", "1"), resource(LISTENER, "l", "2")
NAME_OF = {one.body: one.name for one in (A1, A2, B1, EDS_A1, EDS_A2, EDS_B1, L1, L2)}


class Talk:
    """A stream, written as what a client says and what it hears."""

    def __init__(self, view: View) -> None:
        self.stream = SotwStream(view)
        self.nonces: dict[str, str] = {}
        self.names: dict[str, list[str]] = {}

    def says(self, url: str, names: str = "", nonce: str = "", error: str = "") -> list[str]:
        self.names[url] = names.split()
        request = DiscoveryRequest(
            type_url=url,
            resource_names=self.names[url],
            response_nonce=nonce,
            error_detail=ErrorDetail(code=3, message=error) if error else None,
        )
        return self.heard(self.stream.receive(request))

    def acks(self, url: str, names: str | None = None) -> list[str]:
        return self.says(url, " ".join(self.names[url]) if names is None else names, nonce=self.nonces[url])

    def nacks(self, url: str) -> list[str]:
        return self.says(url, " ".join(self.names[url]), nonce=self.nonces[url], error="not like this")

    def shows(self, view: View) -> list[str]:
        return self.heard(self.stream.update(view))

    def heard(self, responses: list[bytes]) -> list[str]:
        told = []
        for encoded in responses:
            response = DiscoveryResponse.FromString(encoded)
            self.nonces[response.type_url] = response.nonce
            words = [{CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS"}[response.type_url]]
            told.append(" ".join(words + [NAME_OF[Any.SerializeToString(one)] for one in response.resources]))
        return told

    def status(self, url: str) -> Status:
        return self.stream.status()[url].status


def test_no_names_ask_for_all_clusters() -> None:
    assert Talk(view_of(A1, B1)).says(CLUSTER) == ["CDS a b"]


def test_once_names_were_given_no_names_mean_nothing() -> None:
    talk = Talk(view_of(A1, B1))
    assert talk.says(CLUSTER, "a") == ["CDS a"]
    assert talk.acks(CLUSTER, names="") == []
    assert talk.shows(view_of(A2, B1)) == []


def test_a_star_may_be_mixed_with_names() -> None:
    assert Talk(view_of(A1, B1)).says(CLUSTER, "* a") == ["CDS a b"]


def test_an_empty_full_state_is_still_an_answer() -> None:
    assert Talk({}).says(CLUSTER) == ["CDS"]


def test_a_request_with_a_stale_nonce_is_ignored_altogether() -> None:
    talk = Talk(view_of(EDS_A1, EDS_B1))
    talk.says(ENDPOINTS, "a")
    assert talk.says(ENDPOINTS, "a b", nonce="0") == []
    assert talk.status(ENDPOINTS) is Status.PENDING


def test_a_nonce_of_an_earlier_stream_is_a_first_request() -> None:
    assert Talk(view_of(A1)).says(CLUSTER, nonce="17") == ["CDS a"]


def test_an_ack_is_not_answered() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    assert talk.acks(CLUSTER) == []
    assert talk.status(CLUSTER) is Status.SYNCED


def test_a_change_of_one_cluster_sends_all_of_them() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    assert talk.shows(view_of(A2, B1)) == ["CDS a b"]


def test_a_change_of_one_clusters_endpoints_sends_just_those() -> None:
    talk = Talk(view_of(EDS_A1, EDS_B1))
    talk.says(ENDPOINTS, "a b")
    talk.acks(ENDPOINTS)
    assert talk.shows(view_of(EDS_A2, EDS_B1)) == ["EDS a"]


def test_an_added_name_is_answered() -> None:
    talk = Talk(view_of(EDS_A1, EDS_B1))
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.acks(ENDPOINTS, names="a b") == ["EDS b"]


def test_a_name_taken_away_and_added_again_is_answered_though_nothing_changed() -> None:
    talk = Talk(view_of(EDS_A1))
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    talk.acks(ENDPOINTS, names="")
    assert talk.acks(ENDPOINTS, names="a") == ["EDS a"]


def test_endpoints_that_are_gone_are_not_told_and_told_when_they_are_back() -> None:
    talk = Talk(view_of(EDS_A1))
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.shows({}) == []
    assert talk.shows(view_of(EDS_A1)) == ["EDS a"]


def test_a_refused_state_is_not_sent_again_and_the_next_one_is() -> None:
    talk = Talk(view_of(A1, B1))
    talk.says(CLUSTER)
    assert talk.nacks(CLUSTER) == []
    assert talk.status(CLUSTER) is Status.NACK
    assert talk.shows(view_of(A1, B1)) == []
    assert talk.shows(view_of(A2, B1)) == ["CDS a b"]


def test_a_changed_cluster_has_its_endpoints_sent_again() -> None:
    talk = Talk(view_of(A1, EDS_A1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    assert talk.shows(view_of(A2, EDS_A1)) == ["CDS a", "EDS a"]


def test_an_old_cluster_is_repeated_until_the_new_listener_is_taken() -> None:
    talk = Talk(view_of(A1, EDS_A1, L1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    talk.says(ENDPOINTS, "a")
    talk.acks(ENDPOINTS)
    talk.says(LISTENER)
    talk.acks(LISTENER)
    assert talk.shows(view_of(B1, EDS_B1, L2)) == ["CDS b a"]
    assert talk.acks(CLUSTER) == []
    assert talk.acks(ENDPOINTS, names="a b") == ["EDS b"]
    assert talk.acks(ENDPOINTS) == ["LDS l"]
    assert talk.acks(LISTENER) == ["CDS b"]


def test_an_empty_nonce_begins_anew() -> None:
    talk = Talk(view_of(A1))
    talk.says(CLUSTER)
    talk.acks(CLUSTER)
    assert talk.says(CLUSTER) == ["CDS a"]
