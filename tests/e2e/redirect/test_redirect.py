"""The rules on a real kernel, as root and inside a user namespace: each row a way around, or the way that works."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.kit import only_on
from tests.e2e.redirect.hosts import FAR, FAR6, HERE, HERE6, Host, serving, two_hosts

pytestmark = only_on("netns", why="the rules alone, on two bare namespaces; no lab is asked")

ROOT, AGENT, SIDECAR, APP, OTHER = 0, 1336, 1337, 1338, 1001
FLAGS = ("--host-address", HERE, "--control-plane", FAR, "--app-port", "8080")
VIP = "240.0.0.1"


@pytest.fixture(
    scope="module",
    params=[
        *([pytest.param(False, id="as root")] if os.geteuid() == 0 else []),
        pytest.param(True, id="in a user namespace"),
    ],
)
def hosts(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    with two_hosts(has_users=request.param) as (here, far):
        here.mesh_redirect("apply", *FLAGS)
        yield here, far


@pytest.mark.parametrize(
    ("uid", "kind", "address", "port", "gets"),
    [
        pytest.param(APP, "tcp", VIP, 80, f"port 15001 for {VIP}:80", id="the application dials a virtual address"),
        pytest.param(APP, "tcp", FAR, 8080, f"port 15001 for {FAR}:8080", id="the application dials a host directly"),
        pytest.param(APP, "udp", FAR, 443, "refused", id="QUIC is refused"),
        pytest.param(APP, "udp", FAR, 53, "refused", id="a foreign resolver is refused"),
        pytest.param(APP, "tcp", FAR6, 8080, "refused", id="IPv6 is refused"),
        pytest.param(APP, "udp", FAR6, 443, "refused", id="UDP over IPv6 is refused"),
        pytest.param(APP, "raw", FAR, 0, "refused", id="a raw socket needs a capability the application lacks"),
        pytest.param(ROOT, "raw", FAR, 0, "refused", id="even root's raw ICMP is refused"),
        pytest.param(OTHER, "tcp", VIP, 80, "refused", id="another user's process"),
        pytest.param(ROOT, "tcp", FAR, 8080, "refused", id="root's process"),
        pytest.param(AGENT, "tcp", FAR, 8502, "port 8502", id="the agent reaches the control plane"),
        pytest.param(AGENT, "tcp", FAR, 8080, "refused", id="the agent reaches nothing else"),
        pytest.param(SIDECAR, "tcp", FAR, 8080, "port 8080", id="the sidecar reaches other hosts"),
        pytest.param(SIDECAR, "udp", FAR, 443, "refused", id="but not by UDP"),
        pytest.param(SIDECAR, "tcp", HERE, 8080, f"port 15006 for {HERE}:8080", id="a self-call passes through policy"),
        pytest.param(APP, "tcp", HERE, 8080, "port 8080", id="the application talks to itself"),
        pytest.param(AGENT, "tcp", "127.0.0.1", 8080, "port 8080", id="the agent checks health"),
        pytest.param(OTHER, "tcp", "127.0.0.1", 8080, "refused", id="another user, over loopback"),
        pytest.param(OTHER, "tcp", "::1", 8080, "refused", id="another user, over IPv6 loopback"),
        pytest.param(OTHER, "tcp", HERE, 8080, "refused", id="another user, by the host's own address"),
        pytest.param(APP, "tcp", "127.0.0.1", 15001, "refused", id="the outbound port by hand"),
        pytest.param(APP, "tcp", HERE, 15006, "refused", id="the inbound port by hand"),
        pytest.param(APP, "tcp", "127.0.0.1", 15000, "refused", id="the admin port by the application"),
        pytest.param(AGENT, "tcp", "127.0.0.1", 15000, "port 15000", id="the admin port by the agent"),
        pytest.param(APP, "udp", "127.0.0.1", 53, "port 15053", id="a name over UDP"),
        pytest.param(OTHER, "tcp", "127.0.0.1", 53, "port 15053 for 127.0.0.1:53", id="a name over TCP"),
    ],
)
def test_01_from_the_host(hosts: tuple[Host, Host], uid: int, kind: str, address: str, port: int, gets: str) -> None:
    assert hosts[0].dial(kind, address, port, uid=uid) == gets


@pytest.mark.parametrize(
    ("kind", "address", "port", "gets"),
    [
        pytest.param("tcp", HERE, 8080, f"port 15006 for {HERE}:8080", id="the application's port: the sidecar"),
        pytest.param("tcp", HERE, 22, f"port 15006 for {HERE}:22", id="a port where nobody listens: the sidecar"),
        pytest.param("tcp", HERE, 15020, "port 15020", id="the agent's health, without the sidecar"),
        pytest.param("tcp", HERE, 15000, "refused", id="the admin port"),
        pytest.param("tcp", HERE, 15001, "refused", id="the host is no relay"),
        pytest.param("tcp", HERE, 15006, "refused", id="the inbound listener by its own port"),
        pytest.param("udp", HERE, 8080, "refused", id="UDP"),
        pytest.param("udp", HERE, 15053, "refused", id="the agent's DNS"),
        pytest.param("tcp", HERE6, 8080, "refused", id="the application over IPv6"),
        pytest.param("udp", HERE6, 8080, "refused", id="UDP over IPv6"),
    ],
)
def test_02_from_another_host(hosts: tuple[Host, Host], kind: str, address: str, port: int, gets: str) -> None:
    assert hosts[1].dial(kind, address, port, uid=OTHER) == gets


def test_03_the_sidecar_delivers_from_its_own_address_and_nobody_can_pretend(hosts: tuple[Host, Host]) -> None:
    here = hosts[0]
    assert here.dial("tcp", "127.0.0.1", 8080, uid=SIDECAR, source="127.0.0.6") == "port 8080"
    assert here.dial("tcp", "127.0.0.1", 8080, uid=SIDECAR) == "refused"
    assert here.dial("tcp", "127.0.0.1", 8080, uid=OTHER, source="127.0.0.6") == "refused"


def test_04_a_second_run_changes_nothing(hosts: tuple[Host, Host]) -> None:
    here = hosts[0]
    before = _rules(here)
    assert "in force already" in here.mesh_redirect("apply", *FLAGS).stderr
    assert _rules(here) == before
    assert here.mesh_redirect("verify", *FLAGS).returncode == 0


def test_05_without_table_nat_the_host_is_closed_and_apply_mends_it(hosts: tuple[Host, Host]) -> None:
    here, far = hosts
    here.run("iptables", "-t", "nat", "-F")
    assert here.dial("tcp", VIP, 80, uid=APP) == "refused"
    assert here.dial("tcp", FAR, 8080, uid=APP) == "refused"
    assert far.dial("tcp", HERE, 8080, uid=OTHER) == "refused"
    found = here.mesh_redirect("verify", *FLAGS, check=False)
    assert (found.returncode, "missing" in found.stdout) == (1, True)
    here.mesh_redirect("apply", *FLAGS)
    assert here.dial("tcp", VIP, 80, uid=APP) == f"port 15001 for {VIP}:80"


def test_06_a_rule_of_somebody_else_before_ours_is_found_and_kept(hosts: tuple[Host, Host]) -> None:
    here = hosts[0]
    foreign = ("OUTPUT", "-d", "10.1.2.3/32", "-j", "ACCEPT")
    here.run("iptables", "-t", "nat", "-I", *foreign)
    assert "foreign-first" in here.mesh_redirect("verify", *FLAGS, check=False).stdout
    here.mesh_redirect("apply", *FLAGS)
    assert here.mesh_redirect("verify", *FLAGS).returncode == 0
    here.run("iptables", "-t", "nat", "-D", *foreign)


def test_07_remove_takes_exactly_what_was_added(hosts: tuple[Host, Host]) -> None:
    here = hosts[0]
    foreign = ("OUTPUT", "-d", "10.1.2.3/32", "-j", "ACCEPT")
    here.run("iptables", "-A", *foreign)
    here.mesh_redirect("remove")
    assert [line for line in _rules(here) if line.startswith("-A")] == ["-A " + " ".join(foreign)]
    assert not [line for line in _rules(here) if "MESHYARD" in line]
    assert "no rule of ours" in here.mesh_redirect("remove").stderr
    here.run("iptables", "-D", *foreign)
    here.mesh_redirect("apply", *FLAGS)


def test_08_a_dry_run_changes_nothing(hosts: tuple[Host, Host]) -> None:
    here = hosts[0]
    before = _rules(here)
    assert "-X MESHYARD_OUTPUT" in here.mesh_redirect("remove", "--dry-run").stdout
    assert _rules(here) == before


def _rules(host: Host) -> list[str]:
    text = host.run("iptables-save").stdout + host.run("ip6tables-save").stdout
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("thief", [pytest.param(OTHER, id="another user"), pytest.param(AGENT, id="the agent's user")])
def test_09_who_takes_a_dead_sidecars_port_is_handed_nothing(hosts: tuple[Host, Host], thief: int) -> None:
    here = hosts[0]
    plan = (*FLAGS[:-1], "8081")  # a second service's port, where nobody listens yet
    here.mesh_redirect("apply", *plan)
    try:
        with serving(here, 8081, uid=thief):
            assert here.dial("tcp", "127.0.0.1", 8081, uid=APP) == "silence"
        with serving(here, 8081, uid=APP):
            assert here.dial("tcp", "127.0.0.1", 8081, uid=APP) == "port 8081"
    finally:
        here.mesh_redirect("apply", *FLAGS)
