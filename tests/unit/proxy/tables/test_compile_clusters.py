"""Clusters: what is read, what is refused, and at which field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster as ClusterMessage
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from mesh.proxy.tables.compile_clusters import compile_cluster
from mesh.proxy.tables.model import BreakerLimits, OutlierConfig
from mesh.proxy.tables.nack import ConfigNack
from mesh.xds.build.resources import build_resources
from mesh.xds.types import CLUSTER
from tests.fakes.sample_mesh import ACCESS_LOG, PAYMENT, spiffe_id
from tests.fakes.xds import changed, pack

BODY = build_resources(PAYMENT, ACCESS_LOG)[CLUSTER]["payment-service"].body
Change = Callable[[Any], object]


def set_to(path: str, value: Any) -> Change:
    """Return a change that sets one field, down a dotted path."""

    def change(message: Any) -> None:
        *above, name = path.split(".")
        for part in above:
            message = getattr(message, part)
        if hasattr(getattr(message, name), "value") and not isinstance(value, dict):
            getattr(message, name).value = value
        else:
            setattr(message, name, value)

    return change


def in_tls(change: Change) -> Change:
    """Return a change inside the UpstreamTlsContext."""

    def inside(message: Any) -> None:
        context = tls_pb2.UpstreamTlsContext()
        message.transport_socket.typed_config.Unpack(context)
        change(context)
        message.transport_socket.typed_config.Pack(context)

    return inside


COMMON = "transport_socket.typed_config.common_tls_context"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param(set_to("name", "other"), "name", id="a name that is not the resource's"),
        pytest.param(set_to("lb_policy", ClusterMessage.RANDOM), "lb_policy", id="another balancer"),
        pytest.param(set_to("type", ClusterMessage.STRICT_DNS), "type", id="endpoints from DNS"),
        pytest.param(
            lambda m: m.load_assignment.SetInParent(), "load_assignment", id="endpoints in a cluster of type EDS"
        ),
        pytest.param(
            lambda m: m.eds_cluster_config.eds_config.ClearField("ads"),
            "eds_cluster_config.eds_config",
            id="not by ADS",
        ),
        pytest.param(set_to("connect_timeout.seconds", -1), "connect_timeout", id="a time below 0"),
        pytest.param(lambda m: m.health_checks.add(), "health_checks", id="active health checks"),
        pytest.param(
            lambda m: m.circuit_breakers.thresholds.add(), "circuit_breakers.thresholds", id="two sets of thresholds"
        ),
        pytest.param(
            lambda m: setattr(m.circuit_breakers.thresholds[0], "priority", 1),
            "circuit_breakers.thresholds[0].priority",
            id="the priority HIGH",
        ),
        pytest.param(
            lambda m: setattr(m.circuit_breakers.thresholds[0], "track_remaining", True),
            "circuit_breakers.thresholds[0].track_remaining",
            id="tracking what remains",
        ),
        pytest.param(
            set_to("outlier_detection.enforcing_success_rate", 100),
            "outlier_detection.enforcing_success_rate",
            id="ejection by success rate",
        ),
        pytest.param(
            set_to("outlier_detection.max_ejection_percent", 101),
            "outlier_detection.max_ejection_percent",
            id="more than 100 percent",
        ),
        pytest.param(
            set_to("outlier_detection.max_ejection_time.seconds", 1),
            "outlier_detection.max_ejection_time",
            id="a maximum below the base",
        ),
        pytest.param(
            set_to("outlier_detection.success_rate_minimum_hosts", 3),
            "outlier_detection.success_rate_minimum_hosts",
            id="a detector that is not there",
        ),
        pytest.param(
            lambda m: m.upstream_bind_config.source_address.SetInParent(),
            "upstream_bind_config.source_address",
            id="a source address that is none",
        ),
        pytest.param(
            in_tls(set_to("max_session_keys", 1)), "transport_socket.typed_config.max_session_keys", id="resumption"
        ),
        pytest.param(
            in_tls(set_to("allow_renegotiation", True)),
            "transport_socket.typed_config.allow_renegotiation",
            id="renegotiation",
        ),
        pytest.param(
            in_tls(
                set_to("common_tls_context.tls_params.tls_minimum_protocol_version", common_pb2.TlsParameters.TLSv1_2)
            ),
            COMMON + ".tls_params.tls_minimum_protocol_version",
            id="TLS 1.2",
        ),
        pytest.param(
            in_tls(lambda c: c.common_tls_context.ClearField("tls_params")),
            COMMON + ".tls_params.tls_minimum_protocol_version",
            id="TLS of any version",
        ),
        pytest.param(
            in_tls(
                lambda c: c.common_tls_context.combined_validation_context.default_validation_context.ClearField(
                    "match_typed_subject_alt_names"
                )
            ),
            COMMON + ".combined_validation_context.default_validation_context",
            id="nobody expected: anybody would do",
        ),
        pytest.param(
            in_tls(
                lambda c: setattr(
                    c.common_tls_context.combined_validation_context.default_validation_context,
                    "trust_chain_verification",
                    common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED,
                )
            ),
            COMMON + ".combined_validation_context.default_validation_context.trust_chain_verification",
            id="a chain that nobody checks",
        ),
        pytest.param(
            in_tls(lambda c: c.common_tls_context.ClearField("tls_certificate_sds_secret_configs")),
            COMMON + ".tls_certificate_sds_secret_configs",
            id="no certificate of our own",
        ),
        pytest.param(
            in_tls(lambda c: c.common_tls_context.tls_certificates.add()),
            COMMON + ".tls_certificates",
            id="a key in the resource",
        ),
    ],
)
def test_what_is_refused(change: Change, path: str) -> None:
    with pytest.raises(ConfigNack) as caught:
        compile_cluster("payment-service", changed(BODY, ClusterMessage, change))
    assert caught.value.path == path
    assert caught.value.resource == "payment-service"


def test_a_cluster_that_says_nothing_has_envoys_defaults() -> None:
    draft = compile_cluster("c", pack(ClusterMessage(name="c")))
    cluster = draft.cluster
    assert draft.eds_name is None
    assert (cluster.connect_timeout_s, cluster.panic_threshold_pct, cluster.outlier, cluster.tls) == (
        5.0,
        50.0,
        None,
        None,
    )
    assert cluster.limits == BreakerLimits()


def test_outlier_detection_that_says_nothing_has_envoys_defaults() -> None:
    message = ClusterMessage(name="c")
    message.outlier_detection.SetInParent()
    assert compile_cluster("c", pack(message)).cluster.outlier == OutlierConfig()


def test_outlier_detection_that_says_all() -> None:
    message = ClusterMessage(name="c")
    config = message.outlier_detection
    config.consecutive_5xx.value, config.max_ejection_percent.value, config.enforcing_consecutive_5xx.value = 1, 50, 0
    config.interval.seconds, config.base_ejection_time.seconds, config.max_ejection_time.seconds = 1, 400, 500
    config.always_eject_one_host.value = True
    config.enforcing_success_rate.value = 0
    assert compile_cluster("c", pack(message)).cluster.outlier == OutlierConfig(1, 1.0, 400.0, 500.0, 50, 0, True)


def test_the_maximum_follows_a_longer_base() -> None:
    message = ClusterMessage(name="c")
    message.outlier_detection.base_ejection_time.seconds = 600
    outlier = compile_cluster("c", pack(message)).cluster.outlier
    assert outlier is not None
    assert outlier.max_ejection_time_s == 600.0


def test_panic_and_retry_budget() -> None:
    message = ClusterMessage(name="c")
    message.common_lb_config.healthy_panic_threshold.value = 0
    budget = message.circuit_breakers.thresholds.add().retry_budget
    budget.budget_percent.value = 25
    cluster = compile_cluster("c", pack(message)).cluster
    assert (cluster.panic_threshold_pct, cluster.limits.retry_budget_pct, cluster.limits.min_retry_concurrency) == (
        0,
        25,
        3,
    )


def test_whom_to_believe_and_what_to_say() -> None:
    tls = compile_cluster("payment-service", BODY).cluster.tls
    assert tls is not None
    assert (tls.certificate_secret, tls.validation_secret) == ("default", "ROOTCA")
    assert tls.expected_ids == {spiffe_id("payment-service")}
    assert (tls.sni, tls.alpn) == ("payment-service.production.dominos.internal", ("http/1.1",))
