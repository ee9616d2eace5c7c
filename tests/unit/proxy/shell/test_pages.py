"""What the admin pages say: in Envoy's shape, with why an endpoint is in or out beside it."""

from __future__ import annotations

from random import Random
from typing import Any

from envoy.admin.v3 import certs_pb2, clusters_pb2, config_dump_pb2, config_dump_shared_pb2  # noqa: F401 - named in a dump
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401 - named in the bootstrap
from google.protobuf.json_format import ParseDict

from mesh.proxy.policy.retry import Responded
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.shell.certificates_page import certificates_of
from mesh.proxy.shell.clusters_page import as_lines, as_statuses
from mesh.proxy.shell.config_page import dump
from mesh.proxy.tables.model import Cluster, Endpoint, OutlierConfig
from mesh.xds.bootstrap import Bootstrap
from mesh.xds.build.cache import ResourceCache
from mesh.xds.build.resources import build_resources
from mesh.xds.client.held import Held
from tests.fakes.sample_mesh import ACCESS_LOG, ORDER

ONE, TWO = (Endpoint(f"10.77.1.{n}", 8080, host=f"payment-{n}", datacenter="east") for n in (12, 13))


def runtime(outlier: OutlierConfig | None) -> ClusterRuntime:
    return ClusterRuntime(Cluster("payment", (ONE, TWO), outlier=outlier), now=0.0, rng=Random(1))


def status(one: ClusterRuntime) -> Any:
    (shown,) = as_statuses([one])["cluster_statuses"]
    return shown


def test_an_endpoint_that_was_not_ejected_says_why_and_is_counted() -> None:
    failing = runtime(OutlierConfig(consecutive_5xx=1))
    failing.ended(ONE.key, Responded(503, {}), now=0.1)
    shown = status(failing)
    assert shown["meshyard"]["outlier"]["ejections_overflow"] == 1
    assert shown["meshyard"]["outlier"]["ejections_enforced_total"] == 0
    notes = {host["hostname"]: host["meshyard"]["note"] for host in shown["host_statuses"]}
    assert notes == {"payment-12": "not ejected: 1 of 2 hosts would be 50 %, max_ejection_percent is 10",
                     "payment-13": ""}  # fmt: skip


def test_an_ejected_endpoint_is_marked_as_envoy_marks_it() -> None:
    failing = runtime(OutlierConfig(consecutive_5xx=1, max_ejection_percent=50))
    failing.ended(ONE.key, Responded(503, {}), now=0.1)
    first, second = status(failing)["host_statuses"]
    assert first["health_status"] == {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
    assert second["health_status"] == {"eds_health_status": "HEALTHY"}
    lines = list(as_lines([failing]))
    assert "payment::10.77.1.12:8080::health_flags::/failed_outlier_check" in lines
    assert "payment::10.77.1.13:8080::health_flags::healthy" in lines


def test_without_outlier_detection_nothing_is_said_of_it() -> None:
    shown = status(runtime(None))
    assert shown["meshyard"]["outlier"] is None
    assert not any("meshyard" in host for host in shown["host_statuses"])


def test_requests_are_counted_under_envoys_names() -> None:
    busy = runtime(None)
    for code in (200, 200, 500):
        busy.started(ONE.key)
        busy.ended(ONE.key, Responded(code, {}), now=0.1)
    busy.started(ONE.key)
    (stats, _) = ({one["name"]: one["value"] for one in host["stats"]} for host in status(busy)["host_statuses"])
    assert stats == {"rq_active": "1", "rq_error": "1", "rq_success": "2", "rq_total": "4"}


def test_the_pages_parse_as_envoys_messages() -> None:
    """The judge is Envoy's own schema; only the key `meshyard` is not in it."""
    page = as_statuses([runtime(OutlierConfig(consecutive_5xx=1))])
    for one in [*page["cluster_statuses"], *(h for c in page["cluster_statuses"] for h in c["host_statuses"])]:
        one.pop("meshyard")
    parsed = ParseDict(page, clusters_pb2.Clusters())
    assert [host.hostname for host in parsed.cluster_statuses[0].host_statuses] == ["payment-12", "payment-13"]
    assert ParseDict(certificates_of(None), certs_pb2.Certificates()) == certs_pb2.Certificates()
    dumped = ParseDict(dump(BOOTSTRAP, held_of_order(), is_with_endpoints=True), config_dump_pb2.ConfigDump())
    assert [one.type_url.rpartition(".")[2] for one in dumped.configs] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "RoutesConfigDump",
        "EndpointsConfigDump",
    ]


BOOTSTRAP = Bootstrap(
    host="order-1",
    service="order-service",
    datacenter="east",
    control_plane_address="10.77.1.2",
    control_plane_port=8502,
    control_plane_id="spiffe://dominos.internal/ns/mesh/sa/control-plane",
    control_plane_name="control-plane.mesh",
    agent_socket="/run/mesh/agent.sock",
)


def held_of_order() -> dict[str, dict[str, Held]]:
    """Return what a sidecar of order-1 holds."""
    made = build_resources(ORDER, ACCESS_LOG, ResourceCache())
    return {
        url: {name: Held(resource.version, resource.body) for name, resource in of_type.items()}
        for url, of_type in made.items()
    }


def test_the_configuration_is_shown_as_received() -> None:
    whole = dump(BOOTSTRAP, held_of_order())
    _, clusters, listeners, _ = whole["configs"]
    names = [one["cluster"]["name"] for one in clusters["dynamic_active_clusters"]]
    assert "payment-service" in names
    assert [one["name"] for one in listeners["dynamic_listeners"]] == ["inbound", "outbound"]
    assert len(whole["configs"]) == 4, "endpoints are many, and come when asked for"
