"""What holds for containers as they really run: no capability, no way out, a network that outlives the application."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.compose.engine import Engine, connect
from lab.driver import LabError
from tests.e2e.kit import Lab, eventually, only_on
from tests.e2e.pace import stretched

pytestmark = only_on("compose", why="it looks at containers, which the others have none of")
LOOK = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
DIAL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"


@functools.cache
def engine() -> Engine:
    return connect()


def containers(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the containers of the lab by HOST-UNIT, as the engine inspects them; not those that root asked for."""
    api = engine().client.api
    found = api.containers(all=True, filters={"label": f"dev.meshyard.lab={lab.driver.lab_name}"})
    inspected = [api.inspect_container(one["Id"]) for one in found]
    by_name = {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in inspected}
    return {name: one for name, one in by_name.items() if not name.endswith("-root")}


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def inside(container: dict[str, Any], *argv: str) -> tuple[int, str]:
    """Run a command in a container as its own user."""
    done = subprocess.run(
        ["docker", "exec", container["Id"], *argv], capture_output=True, text=True, timeout=60, env=engine().environment
    )
    return done.returncode, done.stdout + done.stderr


def test_01_no_process_of_the_lab_has_a_capability_or_can_gain_one(lab: Lab) -> None:
    running = {name: one for name, one in containers(lab).items() if one["State"]["Running"]}
    assert len(running) == 9 + 7 * 3 + 1 + 3, "hosts; agent, sidecar, app; control plane; doors"
    for name, one in running.items():
        said = status_of(one["State"]["Pid"])
        assert {said[kind] for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}, name
        assert said["NoNewPrivs"] == "1", name


def test_02_what_ended_had_one_capability_and_no_container_is_privileged(lab: Lab) -> None:
    for name, one in containers(lab).items():
        config = one["HostConfig"]
        assert not config["Privileged"], name
        assert config["CapDrop"] == ["ALL"], name
        assert (config["CapAdd"] or []) == (["NET_ADMIN"] if name.endswith("-redirect") else []), name
        assert config["ReadonlyRootfs"], name
        assert config["SecurityOpt"] == ["no-new-privileges:true"], name
        assert config["Memory"] > 0, name
        assert config["PidsLimit"] > 0, name


def test_03_an_application_writes_where_its_data_is_and_nowhere_else(lab: Lab) -> None:
    app = containers(lab)["order-1-app"]
    for path in ("/x", "/etc/x", "/opt/demo-services/x", "/srv/demo-services/x", "/usr/bin/x"):
        code, said = inside(app, "touch", path)
        assert code != 0, path
        assert "Read-only file system" in said or "Permission denied" in said
    assert inside(app, "touch", "/var/lib/app/x", "/tmp/x")[0] == 0
    assert "Read-only file system" in inside(containers(lab)["order-1-door"], "touch", "/x")[1], "nor does root"


def test_04_an_application_sees_no_file_of_the_mesh(lab: Lab) -> None:
    app = containers(lab)["order-1-app"]
    for path in ("/etc/mesh", "/run/mesh", "/var/lib/mesh", "/var/log/mesh", "/opt/meshyard"):
        assert "No such file" in inside(app, "ls", path)[1], path
    assert lab.run("order-1", "ls", "/etc/mesh/agent.json").exit_code == 0, "on the host they are"


def network_of(container: dict[str, Any]) -> str:
    return os.readlink(f"/proc/{container['State']['Pid']}/ns/net")


@pytest.mark.parametrize("action", ["kill", "restart"])
def test_05_an_application_that_goes_takes_no_network_with_it(lab: Lab, action: str) -> None:
    before = containers(lab)
    starts = lab.unit("payment-1", "app")["starts"]
    pid = before["payment-1-app"]["State"]["Pid"]
    lab.driver.unit("payment-1", "app", action)
    eventually(
        lambda: (now := containers(lab)["payment-1-app"]["State"])["Running"] and now["Pid"] not in (0, pid),
        what="the application to run again",
    )
    after = containers(lab)
    for name in ("payment-1", "payment-1-agent", "payment-1-sidecar"):
        assert after[name]["State"]["Pid"] == before[name]["State"]["Pid"], name
    assert {network_of(after[f"payment-1{unit}"]) for unit in ("", "-agent", "-sidecar", "-app")} == {
        network_of(before["payment-1"])
    }
    assert lab.unit("payment-1", "app")["starts"] > starts
    url = "http://payment-service:8080/health"
    eventually(lambda: lab.http("order-1", "GET", url).status == 200, what="calls to succeed")


def test_06_what_is_stopped_stays_stopped_until_it_is_started(lab: Lab) -> None:
    for action in ("stop", "stop-now"):
        lab.driver.unit("ledger-1", "app", action)
        eventually(lambda: lab.unit("ledger-1", "app")["state"] == "stopped", what="it to stop")
        policy = containers(lab)["ledger-1-app"]
        assert not policy["State"]["Restarting"]
        lab.driver.unit("ledger-1", "app", "start")
        eventually(lambda: lab.unit("ledger-1", "app")["state"] == "running", what="it to run again")


def test_07_a_paused_unit_stands_still_and_goes_on(lab: Lab) -> None:
    pid = containers(lab)["ledger-1-app"]["State"]["Pid"]
    lab.driver.unit("ledger-1", "app", "pause")
    eventually(lambda: status_of(pid)["State"].startswith("T"), what="it to stand still")
    lab.driver.unit("ledger-1", "app", "resume")
    eventually(lambda: not status_of(pid)["State"].startswith("T"), what="it to go on")


def test_08_dockers_resolver_is_asked_through_the_agent_and_mesh_names_stay_virtual(lab: Lab) -> None:
    """The application's question is caught either way; the agent asks Docker for what is not of the mesh."""
    assert lab.python("order-1", LOOK, "stranger-1").stdout.strip() == lab.driver.address_of("stranger-1")
    assert lab.python("order-1", LOOK, "payment-service").stdout.startswith("240.")
    assert lab.python("order-1", LOOK, "no-such-name").exit_code != 0


def test_09_nothing_is_published_but_two_ports_on_the_loopback(lab: Lab) -> None:
    published = {
        name: {port: bound for port, bound in (one["NetworkSettings"]["Ports"] or {}).items() if bound}
        for name, one in containers(lab).items()
    }
    assert [name for name, ports in published.items() if ports] == ["door"]
    bound = [entry for entries in published["door"].values() for entry in entries]
    assert {entry["HostIp"] for entry in bound} == {"127.0.0.1"}
    urls = {int(url.rpartition(":")[2]) for url in lab.driver.publish_urls().values()}
    assert {int(entry["HostPort"]) for entry in bound} == urls


def test_10_this_machine_has_no_address_in_the_lab(lab: Lab) -> None:
    """Nobody there reaches what listens on this machine, which has no address there."""
    with socket.socket() as heard:
        heard.bind(("0.0.0.0", 0))
        heard.listen()
        port = str(heard.getsockname()[1])
        assert lab.python("stranger-1", DIAL, "10.77.0.1", port).exit_code != 0
    addresses = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout.split()
    assert not [each for each in addresses if each.startswith("10.77.")]


def test_11_no_way_leads_between_the_lab_and_the_doors_network(lab: Lab) -> None:
    door = containers(lab)["door"]
    (outside,) = door["NetworkSettings"]["Networks"].values()
    assert lab.python("stranger-1", DIAL, outside["IPAddress"], "18500").exit_code != 0
    assert inside(door, "python", "-c", DIAL, "127.0.0.1", "18500")[0] == 0, "the door itself listens"
    code, said = inside(door, "python", "-c", DIAL, lab.driver.address_of("cp-1"), "8500")
    assert code != 0, said
    engines = engine().client.api.inspect_network(outside["NetworkID"])
    assert engines["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    (subnet,) = (one["Subnet"] for one in engines["IPAM"]["Config"])
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True).stdout.splitlines()
    assert "DOCKER" in "".join(rules), "the engine's rules are in this network namespace"
    assert not [rule for rule in rules if "MASQUERADE" in rule and subnet in rule], "no answer finds back to the door"


@pytest.fixture
def sleeper(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    argv = lab.driver.command_for("order-1", ["sh", "-c", "echo begun; sleep 4242 & sleep 4242"])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_12_a_command_ends_with_whoever_ran_it(lab: Lab, sleeper: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Docker alone would leave it running: an exec does not end when its client is killed."""
    eventually(lambda: lab.run("order-1", "pgrep", "-cf", "^sleep 4242").stdout.strip() == "2", what="its start")
    sleeper.send_signal(how)
    eventually(lambda: lab.run("order-1", "pgrep", "-cf", "^sleep 4242").stdout.strip() == "0", what="its end")


def test_12_a_command_that_takes_too_long_ends_with_what_it_started(lab: Lab) -> None:
    with pytest.raises(LabError, match=f"sh on order-1 took longer than {stretched(2.0):g} s") as refused:
        lab.run("order-1", "sh", "-c", "sleep 4243 & sleep 4243", timeout_s=2.0)
    assert refused.value.exit_code == 124
    eventually(lambda: lab.run("order-1", "pgrep", "-cf", "^sleep 4243").stdout.strip() == "0", what="its end")


def test_13_a_command_that_reads_nothing_and_one_that_reads_all(lab: Lab) -> None:
    much = "x" * 300_000
    assert lab.run("order-1", "wc", "-c", stdin=much).stdout.strip() == "300000"
    assert lab.run("order-1", "sh", "-c", "exit 7", stdin=much).exit_code == 7
    assert lab.run("order-1", "sh", "-c", "kill -9 $$").exit_code == 137
    missing = lab.run("order-1", "no-such-command")
    assert missing.exit_code == 127


def test_14_root_of_a_host_is_a_container_that_somebody_asked_for(lab: Lab) -> None:
    names = lab.run("stranger-1", "id", "-u", user="root")
    assert names.stdout.strip() == "0"
    found = engine().client.api.inspect_container(lab.driver.place.container("stranger-1", "root"))  # type: ignore[attr-defined]
    assert not found["HostConfig"]["Privileged"]
    assert "SYS_ADMIN" not in found["HostConfig"]["CapAdd"]
    assert [
        unit["name"] for host in lab.driver.status()["hosts"] for unit in host["units"] if unit["name"] == "root"
    ] == []
