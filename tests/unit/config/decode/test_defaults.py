"""service-defaults and proxy-defaults."""

from __future__ import annotations

import pytest

from mesh.config.entries import Limits, PassiveHealthCheck, Protocol, ProxyDefaults, ServiceDefaults, UpstreamPolicy
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of


def defaults(inside: str) -> str:
    """Return a file; `inside` begins in line 3."""
    return 'Kind = "service-defaults"\nName = "order-service"\n' + inside


def test_a_whole_entry() -> None:
    text = defaults("""
Protocol = "http"
MaxInboundConnections = 100
LocalConnectTimeoutMs = 250
LocalRequestTimeoutMs = 1500
UpstreamConfig {
  Defaults { ConnectTimeoutMs = 1000 }
  Overrides = [
    {
      Name = "payment-service"
      Limits { MaxConnections = 10, MaxPendingRequests = 0, MaxConcurrentRequests = 30 }
      PassiveHealthCheck {
        Interval = "5s"
        MaxFailures = 3
        EnforcingConsecutive5xx = 0
        MaxEjectionPercent = 50
        BaseEjectionTime = "10s"
      }
    }
  ]
}
""")
    (entry,) = load_text(text, "f.hcl").entries
    assert isinstance(entry, ServiceDefaults)
    assert (entry.protocol, entry.max_inbound_connections) == (Protocol.HTTP, 100)
    assert (entry.local_connect_timeout_s, entry.local_request_timeout_s) == (0.25, 1.5)
    assert entry.upstream_defaults is not None
    assert entry.upstream_defaults.connect_timeout_s == 1.0
    (override,) = entry.upstream_overrides
    assert override == UpstreamPolicy(
        name="payment-service",
        limits=Limits(10, 0, 30),
        passive_health_check=PassiveHealthCheck(5.0, 3, 0, 50, 10.0),
        at=override.at,
    )


def test_what_is_not_said_has_the_default() -> None:
    (entry,) = load_text(defaults("UpstreamConfig { Defaults { PassiveHealthCheck {} } }"), "f").entries
    assert isinstance(entry, ServiceDefaults)
    assert entry.protocol is None
    assert (entry.local_connect_timeout_s, entry.local_request_timeout_s) == (5.0, None)
    assert entry.upstream_defaults is not None
    assert entry.upstream_defaults.passive_health_check == PassiveHealthCheck()


def test_proxy_defaults() -> None:
    (entry,) = load_text('Kind = "proxy-defaults" Name = "global" Config { protocol = "tcp" }', "f").entries
    assert isinstance(entry, ProxyDefaults)
    assert entry.protocol is Protocol.TCP


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param(
            defaults('Protocol = "grpc"'),
            ['3:12 Protocol: "grpc" is known to Consul and not implemented by Meshyard'],
            id="a protocol of Consul's",
        ),
        pytest.param(defaults('Protocol = "htp"'), ['3:12 Protocol: "htp" is not known'], id="an unknown protocol"),
        pytest.param(
            defaults("LocalConnectTimeoutMs = 1.5"),
            ["3:25 LocalConnectTimeoutMs in service-defaults is the number 1.5"],
            id="a part of a millisecond",
        ),
        pytest.param(
            defaults('UpstreamConfig { Defaults { Name = "a" } }'),
            ['3:29 unknown key "Name" in the defaults of UpstreamConfig'],
            id="a name for all upstreams",
        ),
        pytest.param(
            defaults("UpstreamConfig { Overrides {} }"),
            ["3:28 an override of UpstreamConfig has no Name"],
            id="an override for nobody",
        ),
        pytest.param(
            defaults('UpstreamConfig {\nOverrides { Name = "a" }\nOverrides { Name = "a" } }'),
            ['5:11 the upstream "a" has an override in line 4 already'],
            id="an upstream twice",
        ),
        pytest.param(
            defaults("UpstreamConfig { Defaults { PassiveHealthCheck { MaxEjectionPercent = 101 } } }"),
            ["3:71 MaxEjectionPercent in PassiveHealthCheck is the number 101"],
            id="more than all",
        ),
        pytest.param(
            defaults('UpstreamConfig { Defaults { PassiveHealthCheck { Interval = "0s" } } }'),
            ['3:61 Interval in PassiveHealthCheck is the string "0s"'],
            id="an interval of nothing",
        ),
        pytest.param(
            defaults("UpstreamConfig {}\nUpstreamConfig {}"),
            ["4:16 UpstreamConfig is given twice in service-defaults, first in line 3"],
            id="a block twice",
        ),
        pytest.param(
            defaults('Mode = "transparent"'),
            ['3:1 "Mode" in service-defaults is known to Consul and not implemented by Meshyard'],
            id="a key of Consul's",
        ),
        pytest.param(
            'Kind = "proxy-defaults"\nName = "east"', ['2:8 proxy-defaults has the Name "east"'], id="another name"
        ),
        pytest.param(
            'Kind = "proxy-defaults"\nName = "global"\nConfig { envoy_x = "" }',
            ['3:10 unknown key "envoy_x" in the Config of proxy-defaults'],
            id="an escape hatch",
        ),
    ],
)
def test_faults(text: str, errors: list[str]) -> None:
    assert errors_of(text) == errors
