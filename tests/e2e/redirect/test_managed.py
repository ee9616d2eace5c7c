"""A machine with an operator: ssh comes in, the system's own services go out, and the application gains nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.kit import only_on
from tests.e2e.redirect.hosts import FAR, HERE, Host, serving, two_hosts

pytestmark = only_on("netns", why="the rules alone, on two bare namespaces; no lab is asked")

ROOT, TIMESYNC, AGENT, SIDECAR, APP, OTHER = 0, 997, 1336, 1337, 1338, 1001
OUTSIDE = "192.0.2.7"  # beyond the management interface
FLAGS = ("--host-address", HERE, "--control-plane", FAR, "--app-port", "8080")
BY_INTERFACE = (*FLAGS, "--exclude-inbound", "22", "--management-interface", "eth0")
BY_NETWORK = (*FLAGS, "--exclude-inbound", "22", "--operator-network", "192.0.2.0/24")
VIP = "240.0.0.1"


@pytest.fixture(
    scope="module",
    params=[
        *([pytest.param(False, id="as root")] if os.geteuid() == 0 else []),
        pytest.param(True, id="in a user namespace"),
    ],
)
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    with two_hosts(has_users=request.param) as (here, far):
        far.run("ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo")
        with serving(here, 22, 68, uid=ROOT), serving(far, 67, 123, address=OUTSIDE):
            yield here, far


@pytest.fixture(scope="module", params=[BY_INTERFACE, BY_NETWORK], ids=["by interface", "by network"])
def managed(request: pytest.FixtureRequest, machine: tuple[Host, Host]) -> tuple[Host, Host]:
    machine[0].mesh_redirect("apply", *request.param)
    assert machine[0].mesh_redirect("verify", *request.param).returncode == 0
    return machine


@pytest.mark.parametrize(
    ("uid", "kind", "port", "gets"),
    [
        pytest.param(ROOT, "tcp", 443, "port 443", id="root fetches a package"),
        pytest.param(TIMESYNC, "udp", 123, "port 123", id="the clock is set"),
        pytest.param(ROOT, "udp", 67, "port 67", id="a lease is renewed"),
    ],
)
def test_20_the_system_goes_out(managed: tuple[Host, Host], uid: int, kind: str, port: int, gets: str) -> None:
    assert managed[0].dial(kind, OUTSIDE, port, uid=uid) == gets


@pytest.mark.parametrize(
    ("uid", "kind", "address", "port", "gets"),
    [
        pytest.param(APP, "tcp", OUTSIDE, 443, f"port 15001 for {OUTSIDE}:443", id="its TCP is captured"),
        pytest.param(APP, "udp", OUTSIDE, 123, "refused", id="its UDP is refused"),
        pytest.param(APP, "udp", OUTSIDE, 67, "refused", id="it gets no lease"),
        pytest.param(APP, "udp", OUTSIDE, 53, "refused", id="it asks no resolver"),
        pytest.param(APP, "tcp", VIP, 80, f"port 15001 for {VIP}:80", id="it reaches services as before"),
        pytest.param(ROOT, "tcp", VIP, 80, "refused", id="root reaches no service"),
        pytest.param(OTHER, "tcp", OUTSIDE, 443, "refused", id="another user gains nothing"),
        pytest.param(AGENT, "tcp", OUTSIDE, 443, "refused", id="nor the agent"),
        pytest.param(SIDECAR, "udp", OUTSIDE, 123, "refused", id="nor the sidecar"),
    ],
)
def test_21_the_application_gets_nothing_from_the_operators_holes(
    managed: tuple[Host, Host], uid: int, kind: str, address: str, port: int, gets: str
) -> None:
    assert managed[0].dial(kind, address, port, uid=uid) == gets


@pytest.mark.parametrize(
    ("kind", "port", "gets"),
    [
        pytest.param("tcp", 22, "port 22", id="ssh"),
        pytest.param("tcp", 8080, f"port 15006 for {HERE}:8080", id="the application: by its sidecar"),
        pytest.param("tcp", 15000, "refused", id="the admin port"),
        pytest.param("udp", 68, "refused", id="UDP that nobody asked for"),
    ],
)
def test_22_what_comes_in_is_asked_as_ever(managed: tuple[Host, Host], kind: str, port: int, gets: str) -> None:
    assert managed[1].dial(kind, HERE, port, uid=OTHER) == gets


def test_23_without_table_nat_the_application_leaves_by_no_hole(managed: tuple[Host, Host]) -> None:
    here, _ = managed
    kept = here.run("iptables-save", "-t", "nat").stdout
    here.run("iptables", "-t", "nat", "-F")
    try:
        assert here.dial("tcp", OUTSIDE, 443, uid=APP) == "refused"
        assert here.dial("tcp", OUTSIDE, 443, uid=ROOT) == "port 443"
    finally:
        here.run("sh", "-c", f"iptables-restore <<'END'\n{kept}END\n")


def test_24_the_application_accepts_on_no_excluded_port(machine: tuple[Host, Host]) -> None:
    here, far = machine
    here.mesh_redirect("apply", *FLAGS, "--exclude-inbound", "2222")
    with serving(here, 2222, uid=OTHER):
        assert far.dial("tcp", HERE, 2222, uid=OTHER) == "port 2222"
    with serving(here, 2222, uid=APP):
        assert far.dial("tcp", HERE, 2222, uid=OTHER) == "silence"
