"""What depends on what: a change rebuilds what it touches, and a snapshot that contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh.base.errors import LocalProtocolError
from mesh.base.ports import PROBE_VIP
from mesh.config.entries import Protocol, RouteDestination, ServiceIntentions, ServiceRoute, ServiceRouter
from mesh.xds.build.managers import manager
from mesh.xds.build.resources import build_resources
from mesh.xds.snapshot import InboundSnapshot, ProxySnapshot, UpstreamSnapshot
from mesh.xds.types import SHORT_NAME
from tests.fakes.sample_mesh import ACCESS_LOG, PAYMENT, PAYMENT_ENDPOINTS, spiffe_id


def with_upstream(name: str, **changes: object) -> ProxySnapshot:
    """Return the payment proxy's snapshot with one upstream changed."""
    upstreams = tuple(replace(one, **changes) if one.name == name else one for one in PAYMENT.upstreams)
    return replace(PAYMENT, upstreams=upstreams)


def with_inbound(**changes: object) -> ProxySnapshot:
    """Return the payment proxy's snapshot with its own service changed."""
    return replace(PAYMENT, inbound=replace(PAYMENT.inbound, **changes))


NEW = UpstreamSnapshot("zed-service", Protocol.HTTP, "240.0.0.9", spiffe_id("zed-service"), ())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(
            with_upstream("payment-service", endpoints=PAYMENT_ENDPOINTS[:1]),
            {"EDS payment-service"},
            id="an instance left: its endpoints",
        ),
        pytest.param(
            with_upstream("payment-service", endpoints=PAYMENT_ENDPOINTS[::-1]), set(), id="another order: nothing"
        ),
        pytest.param(
            with_upstream("payment-service", connect_timeout_s=1.0),
            {"CDS payment-service"},
            id="a timeout: the cluster",
        ),
        pytest.param(with_upstream("payment-service", router=None), {"RDS payment-service"}, id="a router: the routes"),
        pytest.param(with_inbound(intentions=None), {"LDS inbound"}, id="intentions: the inbound listener"),
        pytest.param(
            replace(PAYMENT, upstreams=(*PAYMENT.upstreams, NEW)),
            {"CDS zed-service", "EDS zed-service", "RDS zed-service", "LDS outbound"},
            id="a new service: its own three and the outbound listener",
        ),
    ],
)
def test_a_change_makes_new_what_it_touches(changed: ProxySnapshot, expected: set[str]) -> None:
    before, after = build_resources(PAYMENT, ACCESS_LOG), build_resources(changed, ACCESS_LOG)
    differing = {
        f"{SHORT_NAME[url]} {name}"
        for url in after
        for name in before[url].keys() | after[url].keys()
        if before[url].get(name) != after[url].get(name)
    }
    assert differing == expected


TO_NOWHERE = ServiceRouter("payment-service", (ServiceRoute(None, RouteDestination(service="ghost-service")),))
TO_TCP = ServiceRouter("payment-service", (ServiceRoute(None, RouteDestination(service="ledger-service")),))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        pytest.param(lambda: with_upstream("payment-service", router=TO_NOWHERE), "ghost-service", id="dangling name"),
        pytest.param(lambda: with_upstream("payment-service", router=TO_TCP), "ledger-service", id="HTTP route to TCP"),
        pytest.param(
            lambda: with_upstream("payment-service", virtual_ip="240.0.0.1"),
            "share the virtual",
            id="one address twice",
        ),
        pytest.param(
            lambda: with_upstream("payment-service", virtual_ip=PROBE_VIP),
            "and the probe share",
            id="the probe's address",
        ),
        pytest.param(
            lambda: replace(PAYMENT, upstreams=PAYMENT.upstreams * 2), "two clusters are named", id="one name twice"
        ),
        pytest.param(
            lambda: replace(PAYMENT, upstreams=(replace(NEW, name="local_app"),)), "'local_app'", id="a reserved name"
        ),
        pytest.param(
            lambda: with_upstream("ledger-service", router=ServiceRouter("ledger-service", ())),
            "speaks tcp",
            id="a router on TCP",
        ),
        pytest.param(
            lambda: with_inbound(intentions=ServiceIntentions("ledger-service", ())),
            "has the intentions of ledger-service",
            id="somebody else's intentions",
        ),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(make: Callable[[], ProxySnapshot], complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        build_resources(make(), ACCESS_LOG)


def test_a_service_without_anything_around_it_is_built_too() -> None:
    alone = replace(PAYMENT, inbound=InboundSnapshot("payment-service", 8080, Protocol.HTTP), upstreams=())
    made = build_resources(alone, ACCESS_LOG)
    assert {SHORT_NAME[url]: sorted(of_type) for url, of_type in made.items()} == {
        "CDS": ["local_app", "self_probe"],
        "EDS": [],
        "LDS": ["inbound", "outbound"],
        "RDS": [],
    }


def test_the_far_side_has_room_for_what_the_callers_sidecar_adds() -> None:
    near = manager("a", ACCESS_LOG, "source")
    far = manager("a", ACCESS_LOG, "destination")
    assert far.max_request_headers_kb.value > near.max_request_headers_kb.value
    counts = [made.common_http_protocol_options.max_headers_count.value for made in (far, near)]
    assert counts[0] > counts[1]
