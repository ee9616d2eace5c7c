"""The topology file: what is accepted, what is refused, and where the fault is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.topology import HostSpec, Role, Sidecar, from_json, load, to_json
from mesh.base.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[3] / "lab" / "topology.yaml"
HEAD = "trust_domain: a.internal\nnamespace: production\ndatacenters: {east: 10.0.0.0/24}\n"
PLANE = "  cp-1: {datacenter: east, address: 10.0.0.2, role: control-plane}\n"


def test_the_shipped_topology_has_the_hosts_of_the_pizza_chain() -> None:
    topology = load(SHIPPED)
    assert topology.control_plane.name == "cp-1"
    assert [host.name for host in topology.services] == [
        "order-1",
        "payment-1",
        "payment-2",
        "ledger-1",
        "makeline-1",
        "pulse-1",
        "inventory-1",
    ]
    assert topology.hosts["inventory-1"].datacenter == "west"
    assert topology.hosts["stranger-1"].role is Role.STRANGER


def test_a_topology_survives_its_way_through_json() -> None:
    topology = load(SHIPPED, {"leaf_ttl": "10s"})
    assert from_json(to_json(topology)) == topology
    assert topology.settings["leaf_ttl"] == "10s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"\xff\xfe", "utf-8", id="no text"),
        pytest.param(b"hosts: \x00", "not allowed", id="control characters"),
        pytest.param(b"hosts: [\n", "found", id="no YAML"),
        pytest.param(b"", "no mapping", id="nothing"),
        pytest.param(HEAD.encode() + b"hosts: 5\n", "hosts is no mapping", id="hosts that are a number"),
        pytest.param(HEAD.encode() + b"hosts:\n", "0 hosts", id="no hosts"),
        pytest.param(HEAD.encode() + b"settings: [a]\nhosts: {}\n", "settings is no mapping", id="settings in a list"),
        pytest.param(
            b"trust_domain: a\nnamespace: b\ndatacenters: {c: d}\nhosts: {}\n", "no IPv4 network", id="network"
        ),
        pytest.param(
            HEAD.encode() + b"hosts:\n  a: {datacenter: east, publish: 80}\n", "publish is no", id="publish a number"
        ),
    ],
)
def test_a_file_that_is_no_topology_is_refused_in_words(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "topology.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=said) as refused:
        load(path)
    assert refused.value.at is not None
    assert refused.value.at.path == str(path)


@pytest.mark.parametrize(
    ("hosts", "said", "line"),
    [
        pytest.param(
            "  a: {datacenter: east, address: 10.0.0.3, service: s}\n", "role control-plane", 4, id="no plane"
        ),
        pytest.param(PLANE + "  A_b: {datacenter: east}\n", "DNS label", None, id="a host name is a DNS label"),
        pytest.param(
            PLANE + "  a: {datacenter: north, address: 10.0.0.3}\n", "no known datacenter", 6, id="unknown dc"
        ),
        pytest.param(
            PLANE + "  a: {datacenter: east, address: 10.1.0.3, service: s}\n", "not in its datacenter", 6, id="address"
        ),
        pytest.param(
            PLANE + "  a: {datacenter: east, address: 10.0.0.2, service: s}\n",
            "share 10.0.0.2",
            6,
            id="one address each",
        ),
        pytest.param(PLANE + "  a: {datacentre: east}\n", "unknown key 'datacentre'", 6, id="a typo is named"),
        pytest.param(PLANE + "  a: {datacenter: east, address: 10.0.0.3}\n", "names its service", 6, id="no service"),
        pytest.param(
            PLANE + "  a: {datacenter: east, address: x, service: s}\n", "no IPv4 address", 6, id="no address"
        ),
        pytest.param(
            PLANE + "  a: {datacenter: east, address: 10.0.0.3, service: s, publish: {80: x}}\n",
            "publish",
            6,
            id="publish",
        ),
        pytest.param(PLANE + "  a: [1]\n", "no mapping", 6, id="a host is a mapping"),
        pytest.param(
            PLANE + "  a: {datacenter: east, address: 10.0.0.3, service: s, sidecar: nginx}\n",
            "no sidecar 'nginx'",
            6,
            id="unknown sidecar",
        ),
        pytest.param(PLANE + "  a: {role: king, datacenter: east}\n", "no role 'king'", 6, id="unknown role"),
    ],
)
def test_a_wrong_topology_is_refused_with_its_line(tmp_path: Path, hosts: str, said: str, line: int | None) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(HEAD + "hosts:\n" + hosts)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in caught.value.explain()
    assert line is None or (caught.value.at is not None and caught.value.at.line == line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("hosts: [\n", "reading the topology", id="broken YAML"),
        pytest.param("- a\n", "no mapping", id="a list"),
        pytest.param(HEAD, "hosts is missing", id="no hosts"),
        pytest.param(
            HEAD + "hosts:\n" + PLANE + "settings: {colour: red}\n", "no setting 'colour'", id="unknown setting"
        ),
        pytest.param(HEAD + "hosts:\n" + PLANE + "settings: {leaf_ttl: soon}\n", "duration", id="no duration"),
    ],
)
def test_a_file_that_is_no_topology_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_one_host_may_have_another_sidecar_than_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    hosts = "".join(
        f"  {name}-1: {{datacenter: east, address: 10.0.0.{number}, service: {name}{more}}}\n"
        for number, name, more in ((3, "a", ""), (4, "b", ", sidecar: python"))
    )
    path.write_text(HEAD + "sidecar: envoy\nhosts:\n" + PLANE + hosts)
    topology = load(path)
    assert {host.name: host.sidecar for host in topology.services} == {"a-1": Sidecar.ENVOY, "b-1": Sidecar.PYTHON}
    assert topology.control_plane.sidecar is Sidecar.PYTHON, "it has none"
    assert from_json(to_json(topology)) == topology


@pytest.mark.parametrize(
    ("said", "with_envoy"),
    [
        pytest.param("", set(), id="nothing said"),
        pytest.param("envoy", {"payment-1", "ledger-1"}, id="every host"),
        pytest.param("payment-1=envoy", {"payment-1"}, id="one host"),
        pytest.param("payment-1=envoy, ledger-1=python", {"payment-1"}, id="some hosts"),
    ],
)
def test_a_command_may_choose_sidecars(said: str, with_envoy: set[str]) -> None:
    topology = load(SHIPPED).only(["cp-1", "payment-1", "ledger-1", "stranger-1"]).with_sidecars(said)
    assert {name for name, host in topology.hosts.items() if host.sidecar is Sidecar.ENVOY} == with_envoy


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("nginx", "there is no 'nginx'", id="unknown"),
        pytest.param("payment-9=envoy", "'payment-9' has none", id="no such host"),
        pytest.param("cp-1=envoy", "'cp-1' has none", id="a host without an application"),
        pytest.param("payment-1=envoy,ledger-1", "'ledger-1' names no data plane", id="half a choice"),
    ],
)
def test_a_wrong_choice_of_sidecars_is_refused(said: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(SHIPPED).with_sidecars(said)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        load(tmp_path / "nowhere.yaml")


def test_a_new_host_gets_a_free_address_and_a_free_name() -> None:
    topology = load(SHIPPED)
    address = topology.free_address("east")
    assert address == "10.77.1.100"
    grown = topology.with_host(HostSpec("new-1", "east", address, Role.SERVICE, "new"))
    assert grown.free_address("east") == "10.77.1.101"
    with pytest.raises(ConfigError, match="exists already"):
        grown.with_host(HostSpec("new-1", "east", "10.77.1.102", Role.SERVICE, "new"))
    with pytest.raises(ConfigError, match="no datacenter"):
        topology.free_address("north")
