"""The rules where Docker puts a host: an internal network without a default route, its resolver, and few rights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.kit import only_on
from tests.e2e.redirect.hosts import FAR, HERE, Host, serving, two_hosts

pytestmark = only_on("netns", why="the rules alone, on two bare namespaces; no lab is asked")

ROOT, AGENT, SIDECAR, APP, OTHER = 0, 1336, 1337, 1338, 1001
RESOLVER, DOCKERS_PORT = "127.0.0.11", "41053"
FLAGS = ("--host-address", HERE, "--control-plane", FAR, "--app-port", "8080", "--resolver", RESOLVER)
FORWARD = (*FLAGS, "--forward-to", RESOLVER)
VIP = "240.0.0.1"
NAMES = Path(__file__).with_name("names.py")

# What dockerd 20.10 writes into a container's table nat (libnetwork, resolver_unix.go).
DOCKERS_RULES = f"""*nat
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
-A OUTPUT -d {RESOLVER}/32 -j DOCKER_OUTPUT
-A POSTROUTING -d {RESOLVER}/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d {RESOLVER}/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination {RESOLVER}:{DOCKERS_PORT}
-A DOCKER_OUTPUT -d {RESOLVER}/32 -p udp -m udp --dport 53 -j DNAT --to-destination {RESOLVER}:{DOCKERS_PORT}
-A DOCKER_POSTROUTING -s {RESOLVER}/32 -p tcp -m tcp --sport {DOCKERS_PORT} -j SNAT --to-source :53
-A DOCKER_POSTROUTING -s {RESOLVER}/32 -p udp -m udp --sport {DOCKERS_PORT} -j SNAT --to-source :53
COMMIT
"""


@pytest.fixture(
    scope="module",
    params=[
        *([pytest.param(False, id="as root")] if os.geteuid() == 0 else []),
        pytest.param(True, id="in a user namespace"),
    ],
)
def has_users(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def container(has_users: bool) -> Iterator[Host]:
    with two_hosts(has_users=has_users, has_default_route=False) as (here, _):
        here.run("sh", "-c", f"iptables-restore --noflush <<'END'\n{DOCKERS_RULES}END\n")
        with serving(here, int(DOCKERS_PORT), uid=ROOT, address=RESOLVER):
            yield here


def test_01_apply_finds_no_way_to_virtual_addresses_and_makes_one(container: Host) -> None:
    assert container.dial("tcp", VIP, 80, uid=APP) == "refused"
    assert "route" in container.mesh_redirect("apply", *FORWARD).stderr
    assert container.dial("tcp", VIP, 80, uid=APP) == f"port 15001 for {VIP}:80"
    assert container.mesh_redirect("verify", *FORWARD).returncode == 0
    assert "in force already" in container.mesh_redirect("apply", *FORWARD).stderr


@pytest.mark.parametrize(
    ("uid", "kind", "port", "gets"),
    [
        pytest.param(APP, "udp", 53, "port 15053", id="the application asks the agent"),
        pytest.param(APP, "tcp", 53, f"port 15053 for {RESOLVER}:53", id="over TCP too"),
        pytest.param(ROOT, "udp", 53, "port 15053", id="root asks the agent"),
        pytest.param(AGENT, "udp", 53, f"port {DOCKERS_PORT}", id="the agent asks Docker's resolver"),
        pytest.param(AGENT, "tcp", 53, f"port {DOCKERS_PORT} for {RESOLVER}:53", id="over TCP too"),
        pytest.param(APP, "udp", int(DOCKERS_PORT), "refused", id="the application, by the resolver's real port"),
        pytest.param(APP, "tcp", int(DOCKERS_PORT), "refused", id="over TCP"),
        pytest.param(OTHER, "udp", int(DOCKERS_PORT), "refused", id="another user"),
    ],
)
def test_02_only_the_agent_asks_dockers_resolver(container: Host, uid: int, kind: str, port: int, gets: str) -> None:
    assert container.dial(kind, RESOLVER, port, uid=uid) == gets


def test_03_a_route_that_went_is_told_and_put_back(container: Host) -> None:
    container.run("ip", "route", "del", "240.0.0.0/4")
    found = container.mesh_redirect("verify", *FORWARD, check=False)
    assert (found.returncode, "missing: v4 route main: 240.0.0.0/4 dev eth0" in found.stdout) == (1, True)
    container.mesh_redirect("apply", *FORWARD)
    assert container.mesh_redirect("verify", *FORWARD).returncode == 0


def test_04_dockers_rules_survive_and_ours_come_first(container: Host) -> None:
    container.mesh_redirect("apply", *FLAGS)
    container.mesh_redirect("apply", *FORWARD)
    rules = container.run("iptables-save", "-t", "nat").stdout.splitlines()
    assert [line for line in DOCKERS_RULES.splitlines() if line.startswith("-A") and line not in rules] == []
    output = [line for line in rules if line.startswith("-A OUTPUT")]
    assert ["MESHYARD_OUTPUT" in output[0], "DOCKER_OUTPUT" in output[1]] == [True, True]


def test_05_remove_takes_our_route_and_leaves_docker_as_it_was(container: Host) -> None:
    assert "route" in container.mesh_redirect("remove").stderr
    assert container.run("ip", "route", "show", "240.0.0.0/4").stdout == ""
    rules = container.run("iptables-save", "-t", "nat").stdout
    assert "MESHYARD" not in rules
    assert [line for line in DOCKERS_RULES.splitlines() if line.startswith("-A") and line not in rules] == []
    assert "no rule of ours" in container.mesh_redirect("remove").stderr


def test_06_the_right_to_administer_the_network_is_all_it_takes(container: Host) -> None:
    """A container with cap_drop ALL, cap_add NET_ADMIN, a read-only root and no new privileges."""
    bare = (
        "unshare", "--mount", "--propagation", "private", "sh", "-c",
        # Every place that could be written to: it is shown that none can be.
        "for each in / /run /tmp /var; do mountpoint -q $each && mount -o remount,bind,ro $each; done; "
        "touch /run/x /tmp/x /etc/x 2>/dev/null && exit 77; "
        'exec setpriv --bounding-set=-all,+net_admin --inh-caps=-all --no-new-privs -- "$@"', "sh",
    )  # fmt: skip
    caps = container.run(*bare, "grep", "-E", "Cap(Eff|Bnd)", "/proc/self/status").stdout.split()
    assert caps == ["CapEff:", f"{1 << 12:016x}", "CapBnd:", f"{1 << 12:016x}"]
    container.mesh_redirect("apply", *FORWARD, within=bare)
    assert container.mesh_redirect("verify", *FORWARD, within=bare).returncode == 0
    assert container.dial("tcp", VIP, 80, uid=APP) == f"port 15001 for {VIP}:80"
    container.mesh_redirect("remove", within=bare)
    assert "MESHYARD" not in container.run("iptables-save").stdout


@contextmanager
def running(host: Host, *words: str, uid: int) -> Iterator[subprocess.Popen[str]]:
    command = host.command(sys.executable, "-B", str(NAMES), *words, uid=uid)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_07_names_of_the_mesh_and_of_neighbours_both_come_back_and_no_service_is_told(has_users: bool) -> None:
    with two_hosts(has_users=has_users, has_default_route=False, serves=False) as (here, _):
        here.run("sh", "-c", f"iptables-restore --noflush <<'END'\n{DOCKERS_RULES}END\n")
        here.mesh_redirect("apply", *FORWARD)
        with (
            running(here, "resolver", RESOLVER, DOCKERS_PORT, uid=ROOT) as resolver,
            running(here, "agent", RESOLVER, uid=AGENT),
        ):
            for uid in (APP, OTHER, ROOT):
                came = here.run(sys.executable, "-B", str(NAMES), "ask", RESOLVER, "100", uid=uid).stdout
                assert came.splitlines() == ["ledger-1 10.91.0.15", "payment-service 240.0.0.3"]
            resolver.kill()
            assert resolver.stdout is not None
            assert set(resolver.stdout.read().split()) == {"ledger-1."}
