"""The lab as its users meet it: up, a look around, a command on a host, a fault that ends by itself, the story."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from lab import keeper
from lab.driver import checkout
from lab.netns import control
from tests.e2e.kit import Lab, eventually, only_on
from tests.e2e.pace import stretched

BIN = Path(sys.prefix) / "bin"
NO_OP_S = 3.0
QUIET_S = 4.0  # a client that says nothing is waited for longer: ORDER_WAIT_S in lab/netns/orders.py


def command(lab: Lab, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `lab` as a user would, against this module's lab."""
    argv = (str(BIN / "lab"), *argv)
    return subprocess.run(
        argv, env=lab.environment, cwd=checkout(), input=stdin, capture_output=True, text=True, timeout=60
    )


def test_01_a_second_up_changes_nothing_and_is_quick(lab: Lab) -> None:
    """A busy machine may take long once; a second up that does something takes long every time."""
    before = {host["name"]: host["pid"] for host in lab.driver.status()["hosts"]}
    took: list[float] = []
    while not took or (len(took) < 3 and took[-1] >= stretched(NO_OP_S)):
        began = time.monotonic()
        done = command(lab, "up")
        took.append(time.monotonic() - began)
        assert done.returncode == 0
        assert "up already" in done.stderr
    assert min(took) < stretched(NO_OP_S), took
    assert {host["name"]: host["pid"] for host in lab.driver.status()["hosts"]} == before


def test_02_status_has_a_json_twin_with_the_promised_shape(lab: Lab) -> None:
    done = command(lab, "status", "--output", "json")
    found = json.loads(done.stdout)
    names = [host["name"] for host in found["hosts"]]
    assert names == [
        "cp-1",
        "order-1",
        "payment-1",
        "payment-2",
        "ledger-1",
        "makeline-1",
        "pulse-1",
        "inventory-1",
        "stranger-1",
    ]
    for host in found["hosts"]:
        assert {"name", "address", "datacenter", "units"} <= set(host)
    assert {host["datacenter"] for host in found["hosts"]} == {"east", "west"}


def test_03_exec_passes_stdin_stdout_and_the_exit_code_through(lab: Lab) -> None:
    done = command(lab, "exec", "order-1", "--", "sh", "-c", "cat; echo talk >&2; exit 7", stdin="through\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through\n", "talk\n")
    who = command(lab, "exec", "order-1", "--", "sh", "-c", "id -u; hostname")
    assert who.stdout == "1338\norder-1\n", "exec is the application's user on the host"


def test_04_a_host_is_a_machine_of_its_own(lab: Lab) -> None:
    host = lab.host("payment-1")
    assert host.check_output("hostname") == "payment-1"
    addresses = [one for name in host.interface.names() for one in host.interface(name).addresses]
    assert lab.driver.address_of("payment-1") in addresses
    assert host.check_output("getent ahostsv4 order-service").startswith("240."), "the agent answers names"
    assert host.file("/etc/hosts").contains("payment-1")
    assert host.user("app").uid == 1338
    assert ("envoy" if lab.has_envoy("payment-1") else "sidecar") in host.check_output("ps -eo comm,args")
    assert "control-plane" not in host.check_output("ps -eo comm,args"), "another host's processes are not seen"


def test_05_there_is_no_way_out_of_the_lab(lab: Lab) -> None:
    """The user's own loopback has the published port; the lab's outer namespace has no uplink to reach anything."""
    script = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    done = lab.python("stranger-1", script)
    assert done.exit_code != 0
    assert any(sign in done.stderr.lower() for sign in ("unreachable", "no route to host", "timed out"))


def test_06_published_urls_answer_on_the_loopback_of_the_user(lab: Lab) -> None:
    urls = lab.driver.publish_urls()
    assert all(url.startswith("http://127.0.0.1:") for url in urls.values())
    with urllib.request.urlopen(urls["order-service"] + "/health", timeout=5) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(urls["control-plane"] + "/v1/status", timeout=5) as answer:
        assert json.load(answer)["ready"] is True


def test_07_the_demo_tells_every_hop_from_evidence(lab: Lab) -> None:
    done = command(lab, "demo", "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["order"]["status"] == 201
    called = [hop["near"]["authority"].partition(":")[0] for hop in story["hops"]]
    assert sorted(called) == ["inventory-service", "ledger-service", "makeline-service", "payment-service"]
    for hop in story["hops"]:
        assert hop["far"]["downstream_peer"].startswith("spiffe://dominos.internal/ns/production/sa/")
        if not lab.has_envoy(hop["far"]["host"]):
            assert hop["far"]["rule"].startswith("intentions/")
    assert story["denied"]["record"]["response_code"] == 403


def test_08_a_fault_ends_by_itself(lab: Lab) -> None:
    ping = ("ping", "-c1", "-W1", lab.driver.address_of("pulse-1"))
    assert lab.run("stranger-1", *ping, user="root").exit_code == 0
    done = command(lab, "break", "cut", "pulse-1", "--for", "10s")
    assert done.returncode == 0, done.stderr
    assert "cut pulse-1" in keeper.under_way(lab.driver)
    assert lab.run("stranger-1", *ping, user="root").exit_code != 0
    eventually(lambda: lab.run("stranger-1", *ping, user="root").exit_code == 0, what="the cable to carry again")
    eventually(lambda: not keeper.under_way(lab.driver), what="the fault to be over")


def test_09_heal_ends_every_fault_now(lab: Lab) -> None:
    assert command(lab, "break", "pause", "pulse-1", "--unit", "app", "--for", "60s").returncode == 0
    done = command(lab, "heal")
    assert "pause pulse-1 app" in done.stderr
    eventually(
        lambda: lab.http("pulse-1", "GET", "http://127.0.0.1:8080/health", timeout_s=2).status == 200,
        what="the application to answer again",
    )
    assert "nothing was broken" in eventually(
        lambda: (said := command(lab, "heal").stderr) and "nothing" in said and said, what="no fault left"
    )


def test_10_an_agent_that_dies_joins_again_by_itself(lab: Lab) -> None:
    """Its key was in its memory alone; it kept a secret, and nobody grants a token. The sidecar goes on meanwhile."""
    address = lab.python("pulse-1", "import socket; print(socket.gethostbyname('makeline-service'))").stdout.strip()
    before = lab.unit("pulse-1", "agent")["starts"]
    lab.driver.unit("pulse-1", "agent", "kill")
    assert lab.http("pulse-1", "GET", f"http://{address}:8080/tickets").status == 200
    eventually(lambda: lab.unit("pulse-1", "agent")["starts"] > before, what="the agent to start again")
    eventually(
        lambda: (
            {one["host"]: one["status"] for one in lab.mesh_json("catalog", "instances")["instances"]}["pulse-1"]
            == "passing"
        ),
        what="pulse-1 to be registered and passing again",
    )
    ready = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:15020/ready', timeout=5).status)"
    eventually(lambda: lab.python("pulse-1", ready).stdout.strip() == "200", what="the agent to be ready")
    said = [line for line in lab.driver.logs("cp-1", "control-plane", lines=500).splitlines() if "joined" in line]
    assert [line for line in said if "pulse-1" in line and "a rejoin secret" in line], said
    assert lab.http("pulse-1", "GET", "http://makeline-service:8080/tickets").status == 200


def test_11_names_are_answered_by_a_restarted_agent_without_a_control_plane(lab: Lab) -> None:
    ask = "import socket; print(socket.gethostbyname('makeline-service'))"
    starts = lab.unit("order-1", "agent")["starts"]
    lab.driver.unit("cp-1", "control-plane", "stop-now")
    try:
        lab.driver.unit("order-1", "agent", "kill")
        eventually(lambda: lab.unit("order-1", "agent")["starts"] > starts, what="the agent to start again")
        eventually(
            lambda: lab.python("order-1", ask).stdout.startswith("240."),
            what="names from the agent's disk",
        )
        assert lab.order().status == 201
    finally:
        lab.driver.unit("cp-1", "control-plane", "start")
    eventually(lambda: lab.mesh("catalog", "instances").exit_code == 0, what="the control plane to answer again")
    eventually(
        lambda: (
            {one["host"]: one["status"] for one in lab.mesh_json("catalog", "instances")["instances"]}["order-1"]
            == "passing"
        ),
        what="order-1 to be registered and passing again",
    )


@only_on("netns", why="it is about the lab's own init, which only namespaces need")
def test_12_nobody_who_asks_wrongly_holds_the_lab_up_or_ends_it(lab: Lab) -> None:
    """The lab's init is one thread and PID 1: silence, half a line and nonsense each cost it nothing."""
    control_socket = lab.folder / "lab.sock"
    quiet, halfway = (control.connect(control_socket, 5.0) for _ in range(2))
    with quiet, halfway:
        halfway.sendall(b'{"op": ')
        began = time.monotonic()
        lab.driver.status()
        assert time.monotonic() - began < QUIET_S, "it did not wait for either"
    for nonsense in (b"1\n", b"[]\n", b'{"op": "unit"}\n', b'{"op": "add-host", "host": 1, "files": null}\n'):
        with control.connect(control_socket, 5.0) as client:
            client.sendall(nonsense)
            assert b"error" in client.recv(4096), nonsense
    assert lab.order().status == 201


def test_13_a_broken_agent_that_is_healed_joins_again(lab: Lab) -> None:
    """Killed and healed by the lab, not by its supervisor: its key is gone all the same."""
    assert command(lab, "break", "kill", "pulse-1", "--unit", "agent", "--for", "60s").returncode == 0
    assert "kill pulse-1 agent" in command(lab, "heal").stderr
    ready = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:15020/ready', timeout=5).status)"
    eventually(lambda: lab.unit("pulse-1", "agent")["state"] == "running", what="the agent to run")
    eventually(lambda: lab.python("pulse-1", ready).stdout.strip() == "200", what="the agent to be ready")


@only_on("netns", why="a host's first process is killed by its id on this machine")
def test_14_a_host_that_died_is_told_as_dead(lab: Lab) -> None:
    """Whatever is asked of it is refused by name; the others never notice."""
    pid = lab.driver.command_for("stranger-1", ["true"])[2]
    os.kill(int(pid), signal.SIGKILL)

    def is_told() -> bool:
        return any(line.split()[::4] == ["stranger-1", "dead"] for line in command(lab, "status").stdout.splitlines())

    eventually(is_told, what="its end to be noticed")
    for asked in (
        ["exec", "stranger-1", "--", "id"],
        ["break", "cut", "stranger-1"],
        ["logs", "stranger-1", "--unit", "app"],
    ):
        done = command(lab, *asked)
        assert done.returncode == 1, asked
        assert "stranger-1 is dead" in done.stderr, asked
    assert lab.order().status == 201


@only_on("netns", why="elsewhere a machine carries one lab at a time")
def test_15_two_labs_stand_side_by_side(lab: Lab, tmp_path: Path) -> None:
    from tests.e2e.kit import topology_with

    second = Lab(f"{lab.driver.lab_name}-twin")
    try:
        second.up(topology=topology_with(tmp_path, ("cp-1", "makeline-1")))
        assert second.driver.address_of("makeline-1") == lab.driver.address_of("makeline-1"), "the same addresses"
        assert lab.order().status == 201
        second.driver.down()
        assert lab.order().status == 201, "the end of one is nothing to the other"
    finally:
        second.driver.down()
        (checkout() / ".lab" / f"{second.driver.lab_name}.lock").unlink(missing_ok=True)
