"""Promise 9: no way around. Each way of the table is tried on real hosts, with its guard and without.

Without: so that "refused" is the guard's word and not a mistake of the attempt. Both ends are asked: the one who tries
gets nothing, and the one who would be reached has seen nobody.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.e2e.kit import Lab, eventually
from tests.e2e.p09_no_way_around.scripts import DIAL, LISTEN, LOOPBACK_FRAME, OWN_NAMESPACE, PRIVILEGES, STEAL
from tests.e2e.p09_no_way_around.ways import LEAVING, LEDGER, PAYMENT, UNREGISTERED, WAYS, Way

LAB_HOSTS = ("cp-1", "payment-1", "ledger-1", "stranger-1")
ENTRIES = "http://ledger-service:8080/entries"
ARRIVALS = "/tmp/arrivals"
LISTENERS = {
    "payment-1": ("app", ("v4:9090", "v6:9090", "v6:8080")),
    "ledger-1": ("app", ("v4:9090", "v6:9090")),
    "stranger-1": ("root", ("v4:9090", "v6:9090", "v4:53")),
}
HOLES = list(dict.fromkeys(way.open for way in WAYS if way.open))


@pytest.fixture(scope="module", autouse=True)
def listeners(lab: Lab) -> Iterator[None]:
    """On each host a process of the application's user that answers whoever gets through."""
    with ExitStack() as stack:
        for host, (user, ports) in LISTENERS.items():
            argv = ("python", "-c", LISTEN, ARRIVALS, *ports)
            process = stack.enter_context(lab.background(host, *argv, user=user))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield


@pytest.fixture(scope="module")
def virtual_address(lab: Lab) -> str:
    """Return what the host's names say of the service: without its guards a host has no names either."""
    return lab.run("payment-1", "getent", "ahostsv4", "ledger-service").stdout.split()[0]


def attempt(lab: Lab, way: Way, virtual_address: str = "") -> str:
    to = virtual_address if virtual_address and way.to == "ledger-service" else way.to
    return lab.python(way.host, DIAL, way.kind, way.source, to, str(way.port), user=way.user).stdout.strip()


def arrivals(lab: Lab) -> Counter[str]:
    """Count who has reached an application or a listener; the agent's health checks come from 127.0.0.1."""
    seen: Counter[str] = Counter()
    for host in LISTENERS:
        done = lab.run(host, "sh", "-c", f"cat {ARRIVALS}; curl -s http://127.0.0.1:8080/debug/connections")
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                for peer, count in json.loads(line)["accepted"].items():
                    seen[f"{host}: application from {peer}"] += count if peer != "127.0.0.1" else 0
            else:
                seen[f"{host}: {line.rsplit(' ', 1)[0]}"] += 1
    return +seen


@contextlib.contextmanager
def without_guards(lab: Lab, guards: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Let every packet pass on some hosts in one direction, both families; put the guards back."""
    with ExitStack() as stack:
        for host, chain in guards:
            entry = "OUTPUT" if chain == "OUTPUT" else "PREROUTING"
            rules = (f"iptables -w -t nat {{}} {entry} {{}} -j ACCEPT",)
            rules += tuple(
                f"{program} -w -t filter {{}} {chain} {{}} -j ACCEPT" for program in ("iptables", "ip6tables")
            )
            put = " && ".join(rule.format("-I", "1") for rule in rules)
            take = "; ".join(rule.format("-D", "") for rule in rules)
            done = lab.run(host, "sh", "-c", put, user="root")
            assert done.exit_code == 0, done.stderr
            stack.callback(lab.run, host, "sh", "-c", take, user="root")
        yield


def test_00_the_way_that_there_is_works(lab: Lab) -> None:
    before = arrivals(lab)
    assert lab.http("payment-1", "GET", ENTRIES).status == 200
    assert set(arrivals(lab) - before) <= {"ledger-1: application from 127.0.0.6"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_01_nobody_gets_through_and_nobody_is_reached(lab: Lab, way: Way) -> None:
    before = arrivals(lab)
    assert attempt(lab, way) == way.gets
    assert arrivals(lab) == before


@pytest.mark.parametrize("guards", HOLES, ids=lambda guards: " and ".join(" ".join(guard) for guard in guards))
def test_02_without_the_guard_the_same_attempts_get_through(
    lab: Lab, guards: tuple[tuple[str, str], ...], virtual_address: str
) -> None:
    tried = [way for way in WAYS if way.open == guards]
    with without_guards(lab, guards):
        assert {way.name: attempt(lab, way, virtual_address) for way in tried} == {way.name: way.then for way in tried}
    assert lab.http("payment-1", "GET", ENTRIES).status == 200, "the guards are back and the mesh works"
    assert [attempt(lab, way) for way in tried[:1]] == [way.gets for way in tried[:1]]


def test_02_captured_like_the_application_another_user_would_speak_as_the_service(lab: Lab) -> None:
    assert lab.http("payment-1", "GET", ENTRIES, user="other").status == 0
    capture = (
        "iptables -w -t nat {} OUTPUT {} -p tcp -d 240.0.0.0/4 -m owner --uid-owner 2000 -j REDIRECT --to-ports 15001"
    )
    allow = "iptables -w -t filter {} OUTPUT {} -p tcp --dport 15001 -m owner --uid-owner 2000 -j ACCEPT"
    try:
        for rule in (capture, allow):
            assert lab.run("payment-1", "sh", "-c", rule.format("-I", "1"), user="root").exit_code == 0
        assert lab.http("payment-1", "GET", ENTRIES, user="other").status == 200, "this is what the guard is for"
    finally:
        for rule in (capture, allow):
            lab.run("payment-1", "sh", "-c", rule.format("-D", ""), user="root")
    assert lab.http("payment-1", "GET", ENTRIES, user="other").status == 0


# What root of any host can do: so the refusals below are about the user, not about the attempt.
OF_ROOT = {
    "raw socket", "packet socket", "firewall mark", "become the sidecar", "signal the sidecar", "other trust bundle",
    "other bootstrap", "the agent's state", "see the rules", "flush the rules",
}  # fmt: skip


@pytest.mark.parametrize("user", ["app", "other"])
def test_03_rights_that_would_help_cannot_be_had(lab: Lab, user: str) -> None:
    sidecar = lab.run("payment-1", "pgrep", "-o", "-u", "1337", user="root").stdout.strip()
    with_rights = json.loads(lab.python("payment-1", PRIVILEGES, sidecar, user="root").stdout)
    possible = {name for name, outcome in with_rights.items() if outcome == "ok"}
    assert possible >= OF_ROOT, "root of a host can do what its users are refused; a container's root can do no more"
    without = json.loads(lab.python("payment-1", PRIVILEGES, sidecar, user=user).stdout)
    assert without.keys() == with_rights.keys()
    assert "ok" not in without.values(), without


def test_04_the_application_itself_has_no_right_either(lab: Lab) -> None:
    pid = lab.run("payment-1", "pgrep", "-o", "-u", "1338", user="root").stdout.strip()
    status = dict(
        line.split(":\t", 1) for line in lab.run("payment-1", "cat", f"/proc/{pid}/status").stdout.splitlines()
    )
    assert status["NoNewPrivs"].strip() == "1", "no setuid program gives it another user"
    assert status["Uid"].split() == ["1338"] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0, kind


def test_05_a_user_namespace_of_its_own_gives_no_right_on_the_host(lab: Lab) -> None:
    made = lab.run("payment-1", "unshare", "-r", "python", "-c", OWN_NAMESPACE)
    assert made.stdout.strip() in ("refused", ""), "root of a user namespace is not root of the host's network"
    argv = ("unshare", "-r", "-n", "python", "-c", DIAL, "tcp", "", LEDGER, str(UNREGISTERED))
    assert lab.run("payment-1", *argv).stdout.strip() in ("refused", ""), "a network of its own leads nowhere"


def test_06_the_agents_socket_and_its_files_are_for_the_workload_only(lab: Lab) -> None:
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    assert lab.python("payment-1", connect, "/run/mesh/agent.sock", user="app").exit_code == 0
    refused = lab.python("payment-1", connect, "/run/mesh/agent.sock", user="other")
    assert "PermissionError" in refused.stderr
    operator = lab.python("cp-1", connect, "/run/mesh/control-plane.sock", user="other")
    assert "PermissionError" in operator.stderr


def test_07_hidden_names_and_foreign_names_leave_the_host_nowhere(lab: Lab) -> None:
    before = arrivals(lab)
    ask = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    for name in ("c2VjcmV0.tunnel.example", "nobody-9", "a" * 60 + ".ledger-service"):
        assert "gaierror" in lab.python("payment-1", ask, name).stderr
    assert arrivals(lab) == before
    assert lab.python("payment-1", ask, "ledger-service").stdout.startswith("240.")


def test_08_frames_that_claim_to_come_from_loopback_are_dropped(lab: Lab) -> None:
    before = arrivals(lab)
    mac = lab.run("ledger-1", "cat", "/sys/class/net/eth0/address").stdout.strip()
    if not mac:  # /sys shows the namespace that mounted it; the neighbour table knows as well
        mac = _mac_of(lab, LEDGER)
    done = lab.python("stranger-1", LOOPBACK_FRAME, mac, "10.77.1.66", LEDGER, user="root")
    assert done.stdout.strip() == "sent", done.stderr
    assert attempt(lab, Way("after", "stranger-1", "other", "udp", LEDGER, UNREGISTERED, "refused")) == "refused"
    assert arrivals(lab) == before


def _mac_of(lab: Lab, address: str) -> str:
    lab.run("stranger-1", "ping", "-c", "1", "-W", "1", address, user="root")
    words = lab.run("stranger-1", "ip", "neigh", "show", address, user="root").stdout.split()
    return words[words.index("lladdr") + 1]


def test_09_the_control_planes_own_doors_ask_who_is_there(lab: Lab) -> None:
    url = "http://10.77.1.2:8500/v1"
    for host in ("stranger-1",):
        assert lab.http(host, "GET", f"{url}/status").status == 200
        for method, path in (
            ("GET", "/config/service-intentions"),
            ("PUT", "/config"),
            ("POST", "/tokens"),
            ("GET", "/proxies"),
            ("DELETE", "/config/service-intentions/ledger-service"),
        ):
            assert lab.http(host, method, url + path, body="").status == 403
            wrong = {"authorization": "Bearer guess"}
            assert lab.http(host, method, url + path, body="", headers=wrong).status == 403
    token = lab.run("cp-1", "cat", "/var/lib/mesh/control-plane/management-token", user="root").stdout.strip()
    allowed = {"authorization": f"Bearer {token}"}
    assert lab.http("stranger-1", "GET", f"{url}/config/service-intentions", headers=allowed).status == 200


def test_10_with_both_sidecars_dead_nothing_passes_either_way_and_they_come_back(lab: Lab) -> None:
    before = arrivals(lab)
    for host in ("payment-1", "ledger-1"):
        lab.driver.unit(host, "sidecar", "stop")
    try:
        for host in ("payment-1", "ledger-1"):
            eventually(lambda host=host: lab.unit(host, "sidecar")["state"] != "running", what="its end")
        for way in WAYS:
            if way.kind == "tcp":
                assert attempt(lab, way) in ("refused", "closed"), way
        assert lab.http("payment-1", "GET", ENTRIES).status == 0
        assert arrivals(lab) == before
        for way in WAYS:
            if way.kind == "tcp" and way.user == "app" and way.open == LEAVING:
                with without_guards(lab, way.open):
                    assert attempt(lab, way) == way.then, "the guards stood, not the sidecar"
                break
    finally:
        for host in ("payment-1", "ledger-1"):
            lab.driver.unit(host, "sidecar", "start")
    eventually(lambda: lab.http("payment-1", "GET", ENTRIES).status == 200, what="the way to open again")


@pytest.mark.parametrize(
    ("port", "user", "caller", "url"),
    [
        pytest.param("15006", "other", "stranger-1", f"http://{PAYMENT}:8080/x", id="inbound, another user"),
        pytest.param("15006", "app", "stranger-1", f"http://{PAYMENT}:8080/x", id="inbound, the application"),
        pytest.param("15001", "other", "payment-1", ENTRIES, id="outbound, another user"),
    ],
)
def test_11_who_takes_a_dead_sidecars_port_is_handed_nothing(
    lab: Lab, port: str, user: str, caller: str, url: str
) -> None:
    lab.driver.unit("payment-1", "sidecar", "stop")
    try:
        assert _robbed(lab, port, user, caller, url) == (0, "nothing")
        with without_guards(lab, LEAVING if port == "15006" else ()):
            if port == "15006":
                assert _robbed(lab, port, user, caller, url) == (200, "GET /x HTTP/1.1")
    finally:
        lab.driver.unit("payment-1", "sidecar", "start")
    eventually(lambda: lab.http("payment-1", "GET", ENTRIES).status == 200, what="the way to open again")


def _robbed(lab: Lab, port: str, user: str, caller: str, url: str) -> tuple[int, str]:
    with lab.background("payment-1", "python", "-c", STEAL, port, user=user) as thief:
        assert thief.stdout is not None
        assert thief.stdout.readline() == "ready\n"
        answer = lab.http(caller, "GET", url, timeout_s=3)
        assert thief.stdin is not None
        thief.stdin.close()
        thief.stdin = None
        return answer.status, thief.stdout.readline().strip()


def test_12_hosts_share_no_folder_that_could_carry_a_call(lab: Lab) -> None:
    found = lab.run("payment-1", "sh", "-c", "find / -xdev -type d -perm -002 2>/dev/null; echo /dev/shm").stdout
    for folder in {*found.split(), "/tmp", "/var/tmp"} - {"/proc"}:
        mark = f"{folder}/left-by-payment-1"
        left = lab.run("payment-1", "touch", mark)
        if left.exit_code and "Read-only file system" in left.stderr:
            continue  # what nobody can write to carries nothing
        assert left.exit_code == 0, left.stderr
        assert lab.run("ledger-1", "test", "-e", mark).exit_code == 1, f"{folder} is shared between hosts"


def test_13_every_way_is_over_and_the_rules_are_as_they_were(lab: Lab) -> None:
    for host in ("payment-1", "ledger-1"):
        verified = lab.run(host, "mesh", "redirect", "verify", "--config", "/etc/mesh/agent.json", user="root")
        assert verified.exit_code == 0, verified.stdout
