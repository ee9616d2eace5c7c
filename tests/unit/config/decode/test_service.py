"""service {}: what a host announces, and where its checks may look."""

from __future__ import annotations

import pytest

from mesh.base.errors import ConfigErrors
from mesh.config.decode.checks import is_own_host
from mesh.config.entries import CheckDefinition, CheckKind, ServiceDefinition
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of


def service(inside: str) -> str:
    """Return a file with a service; `inside` begins in line 2."""
    return 'service { name = "payment-service" port = 8080\n' + inside + "\n}"


def check(inside: str) -> str:
    return service('check { interval = "1s"\n' + inside + " }")


def read(inside: str) -> ServiceDefinition:
    return load_text(service(inside), "f.hcl").services[0]


def test_a_whole_service() -> None:
    text = """
service {
  name = "payment-service"
  id   = "payment-1"
  port = 8080
  tags = ["v1", "east"]
  meta { version = "1.2" }
  check {
    id                       = "health"
    name                     = "answers"
    http                     = "http://localhost:8080/health"
    method                   = "head"
    header { x-probe = ["1"] }
    interval                 = "1s"
    timeout                  = "500ms"
    status                   = "passing"
    success_before_passing   = 1
    failures_before_warning  = 1
    failures_before_critical = 2
  }
  checks = [{ tcp = "[::1]:8080", interval = "2s" }, { ttl = "15s" }]
  connect { sidecar_service {} }
}
"""
    (found,) = load_text(text, "f.hcl").services
    assert (found.name, found.id, found.port, found.tags) == ("payment-service", "payment-1", 8080, ("v1", "east"))
    assert found.meta == {"version": "1.2"}
    assert found.has_sidecar
    assert found.checks[0] == CheckDefinition(
        id="health",
        name="answers",
        kind=CheckKind.HTTP,
        target="http://localhost:8080/health",
        method="HEAD",
        headers=(("x-probe", "1"),),
        interval_s=1.0,
        timeout_s=0.5,
        initial_status="passing",
        success_before_passing=1,
        failures_before_warning=1,
        failures_before_critical=2,
    )
    assert [(c.id, c.kind, c.ttl_s) for c in found.checks[1:]] == [
        ("service:payment-1:2", CheckKind.TCP, 0.0),
        ("service:payment-1:3", CheckKind.TTL, 15.0),
    ]


def test_defaults_are_consuls() -> None:
    found = read('check { tcp = "localhost:8080" interval = "10s" }')
    assert not found.has_sidecar
    assert found.checks == (
        CheckDefinition("service:payment-service", "service:payment-service", CheckKind.TCP, "localhost:8080"),
    )
    assert found.checks[0].initial_status == "critical"


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        pytest.param("localhost", True, id="localhost"),
        pytest.param("127.0.0.1", True, id="the loopback"),
        pytest.param("127.9.9.9", True, id="another loopback"),
        pytest.param("::1", True, id="IPv6's loopback"),
        pytest.param("10.77.1.13", True, id="the host's own address"),
        pytest.param("10.77.1.14", False, id="another host"),
        pytest.param("169.254.169.254", False, id="a cloud's metadata"),
        pytest.param("0.0.0.0", False, id="any address"),
        pytest.param("127.1", False, id="the loopback in a short spelling"),
        pytest.param("2130706433", False, id="the loopback as a number"),
        pytest.param("0x7f.0.0.1", False, id="the loopback in hexadecimal"),
        pytest.param("0177.0.0.1", False, id="the loopback in octal"),
        pytest.param("localhost.evil.example", False, id="a name that begins like it"),
        pytest.param("metadata.internal", False, id="a name"),
        pytest.param("fe80::1%eth0", False, id="a link-local address"),
        pytest.param("fd00:ec2::254", False, id="a cloud's metadata by IPv6"),
    ],
)
def test_a_check_looks_only_at_its_own_host(host: str, is_own: bool) -> None:
    assert is_own_host(host, frozenset({"10.77.1.13"})) is is_own


def test_own_addresses_are_given_by_who_runs_the_checks() -> None:
    text = check('tcp = "10.77.1.13:8080"')
    assert load_text(text, "f", own_addresses=frozenset({"10.77.1.13"})).services[0].checks[0].target
    with pytest.raises(ConfigErrors, match="not the service's own host"):
        load_text(text, "f")


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param("service {}", ["1:9 a service has no name", "1:9 a service has no port"], id="nothing said"),
        pytest.param(
            'service { name = "a" port = "80" }', ['1:29 port in a service is the string "80"'], id="a port in quotes"
        ),
        pytest.param(
            'service { name = "a" port = 65536 }', ["1:29 port in a service is the number 65536"], id="a port too large"
        ),
        pytest.param(
            'service { name = "a" port = true }', ["1:29 port in a service is true"], id="a boolean is no number"
        ),
        pytest.param(
            service('address = "10.0.0.1"'),
            ['2:1 "address" in a service is known to Consul and not implemented by Meshyard'],
            id="an address of one's own",
        ),
        pytest.param(service("tags = [1]"), ["2:9 tags in a service is the number 1"], id="a number for a tag"),
        pytest.param(service("meta { a = 1 }"), ["2:12 meta.a in a service is the number 1"], id="a number in meta"),
        pytest.param(
            service("connect { native = true }"),
            ['2:11 "native" in connect is known to Consul and not implemented by Meshyard'],
            id="an application that does it itself",
        ),
        pytest.param(
            service("connect { sidecar_service { proxy { upstreams = [] } } }"),
            ['2:29 "proxy" in sidecar_service is known to Consul and not implemented by Meshyard'],
            id="upstreams are not declared",
        ),
        pytest.param(check(""), ["2:7 a check has none of http, tcp and ttl"], id="a check that does not ask"),
        pytest.param(
            check('http = "http://localhost/" tcp = "localhost:1"'),
            ["2:7 a check has http and tcp"],
            id="two ways to ask",
        ),
        pytest.param(
            check('args = ["rm"]'),
            ['3:1 "args" in a check is known to Consul and not implemented by Meshyard'],
            id="a script",
        ),
        pytest.param(
            service('check { tcp = "localhost:1" }'), ["2:7 a check by tcp has no interval"], id="no interval"
        ),
        pytest.param(
            service('check { ttl = "10s" interval = "1s" }'),
            ["2:32 interval says nothing in a check by ttl"],
            id="an interval that says nothing",
        ),
        pytest.param(
            check('tcp = "localhost:1" timeout = "soon"'),
            ["3:31 timeout: reading a duration: 'soon' is not one"],
            id="no duration",
        ),
        pytest.param(
            check('tcp = "localhost:1" timeout = 5'), ["3:31 timeout in a check is the number 5"], id="no unit"
        ),
        pytest.param(check('tcp = "localhost"'), ['3:7 tcp: "localhost" has no port'], id="no port"),
        pytest.param(check('tcp = "localhost:99999"'), ['3:7 tcp: "localhost:99999" is no target'], id="no such port"),
        pytest.param(check('tcp = "localhost:0"'), ['3:7 tcp: "localhost:0" is no target'], id="port zero"),
        pytest.param(check('tcp = "localhost:1/x"'), ['3:7 tcp: "localhost:1/x" is no target'], id="a path in tcp"),
        pytest.param(
            check('http = "file:///etc/passwd"'), ['3:8 http: "file:///etc/passwd" is no target'], id="a file"
        ),
        pytest.param(
            check('http = "https://localhost/"'),
            ['3:8 http: "https://localhost/" is no target'],
            id="TLS on the loopback",
        ),
        pytest.param(
            check('http = "http://a@localhost/"'), ["3:8 http: a target carries no user and no fragment"], id="a user"
        ),
        pytest.param(
            check('http = "http://localhost\\\\@evil.example/"'),
            ['3:8 http: "http://localhost\\@evil.example/" is no target'],
            id="a backslash before the host",
        ),
        pytest.param(
            check('http = "http://localhost/ HTTP/1.1\\r\\nX: y"'),
            ['3:8 http: "http://localhost/ HTTP/1.1\r\nX: y" is no target'],
            id="a request of one's own in the target",
        ),
        pytest.param(
            check('http = "http://169.254.169.254/latest/meta-data"'),
            ['3:8 http: "169.254.169.254" is not the service\'s own host'],
            id="a cloud's metadata",
        ),
        pytest.param(
            check('http = "http://localhost/" header { "a b" = ["1"] }'),
            ["3:35 the header 'a b' of a check cannot be sent"],
            id="a header that cannot be sent",
        ),
        pytest.param(
            check('tcp = "localhost:1" status = "fine"'), ['3:30 status: "fine" is not known'], id="an unknown status"
        ),
        pytest.param(
            service('check { id = "x" ttl = "9s" } checks { id = "x" ttl = "9s" }'),
            ['1:9 2 checks have the id "x"'],
            id="two checks of one id",
        ),
    ],
)
def test_faults(text: str, errors: list[str]) -> None:
    assert errors_of(text) == errors
