"""The lab's faults: each has its effect, on nobody else, and ends: by itself, when told, and when its keeper dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import keeper, records
from lab.driver import LabError, checkout
from lab.faults import FAULTS, order
from tests.e2e.kit import PATIENCE_S, Lab, eventually, only_on
from tests.e2e.pace import stretched

LAB_HOSTS = ("cp-1", "payment-1", "payment-2", "stranger-1")
VICTIM, BYSTANDER, WATCHER = "payment-1", "payment-2", "stranger-1"
LASTS_S = 5.0  # a fault that two looks still find

# A connection to a port that a host of the mesh shows everybody, in seconds.
CONNECT = """
import socket, sys, time
began = time.monotonic()
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
    print(time.monotonic() - began)
except OSError as error:
    print(-1.0)
"""
KILL_PROGRAM = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        continue
    if "fault.py" in words and int(pid) != os.getpid() and "KILL_PROGRAM" not in words:
        os.kill(int(pid), signal.SIGKILL)
        print(pid)
# KILL_PROGRAM
"""


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Nothing is broken before a test, nor after it, and no rule of a fault is left."""
    keeper.heal(lab.driver)
    yield
    keeper.heal(lab.driver)
    assert rules(lab, VICTIM) == []


def rules(lab: Lab, host: str) -> list[str]:
    """Return the rules and chains of faults that a host's kernel has."""
    found = []
    for family in ("iptables-save", "ip6tables-save"):
        saved = lab.run(host, family, user="root").stdout
        found += [line for line in saved.splitlines() if "LAB_FAULT" in line]
    return found


def answers(lab: Lab, host: str) -> bool:
    return lab.run(WATCHER, "ping", "-c1", "-W1", lab.driver.address_of(host), user="root").exit_code == 0


def ping(lab: Lab, host: str, count: int) -> tuple[int, list[float]]:
    """Ping a host from another; return how many per cent were lost, and the round trips in seconds."""
    argv = ("ping", "-i", "0.02", "-W", "2", "-c", str(count), lab.driver.address_of(host))
    said = lab.run(WATCHER, *argv, user="root", timeout_s=60).stdout
    lost = re.search(r"([\d.]+)% packet loss", said)
    assert lost, said
    return round(float(lost[1])), [float(ms) / 1000 for ms in re.findall(r"time=([\d.]+) ms", said)]


def connect(lab: Lab, host: str, port: int = 15020, timeout_s: float = 2.0) -> float:
    """Return the seconds that a connection to a host takes, -1 when there is none."""
    done = lab.python(WATCHER, CONNECT, lab.driver.address_of(host), str(port), str(timeout_s))
    return float(done.stdout)


def broken(lab: Lab, fault: str, *, duration_s: float = 60.0, **options: str) -> None:
    keeper.inject(lab.driver, fault, VICTIM, duration_s=duration_s, options=options)


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def keeper_of(lab: Lab, fault: str, unit: str = "") -> int:
    record = records.read(
        records.path_of(lab.driver.lab_name, order(fault, VICTIM, duration_s=1, options={"unit": unit}))
    )
    assert record
    return record.pid


# --------------------------------------------------------------------------------------------------- effects


def test_01_a_cut_host_is_silent_in_both_directions_and_nobody_else_is(lab: Lab) -> None:
    assert answers(lab, VICTIM)
    broken(lab, "cut")
    assert ping(lab, VICTIM, 10)[0] == 100
    assert connect(lab, VICTIM) == -1
    assert ping(lab, BYSTANDER, 10)[0] == 0
    assert connect(lab, BYSTANDER) >= 0
    there = lab.http(VICTIM, "GET", "http://127.0.0.1:8080/health")
    assert there.status == 200, "loopback is left in peace, and so is the way in"


def test_02_a_delay_is_on_every_round_trip_and_within_a_tenth_of_what_was_said(lab: Lab) -> None:
    """None is shorter; what a busy machine adds is no delay of ours, and it does not add it three times."""
    before = middle(ping(lab, VICTIM, 20)[1])
    broken(lab, "delay", by="200ms")
    added: list[float] = []
    while not added or (len(added) < 3 and added[-1] > 0.22):
        lost, trips = ping(lab, VICTIM, 50)
        assert lost == 0
        assert min(trips) >= 0.198  # ping tells three digits
        added.append(middle(trips) - before)
    assert min(added) <= 0.22, added
    assert connect(lab, VICTIM) >= 0.2
    assert middle(ping(lab, BYSTANDER, 20)[1]) < 0.1


def test_03_jitter_spreads_a_delay(lab: Lab) -> None:
    broken(lab, "delay", by="100ms", jitter="50ms")
    _, trips = ping(lab, VICTIM, 100)
    assert min(trips) >= 0.05
    assert min(trips) < 0.08 < 0.12 < max(trips)


def test_04_loss_loses_its_share_in_each_direction_and_tcp_carries_on(lab: Lab) -> None:
    """Of 200 pings a quarter comes back when half is lost each way; by chance less than 26 or more than 74, never."""
    broken(lab, "loss", percent="50")
    lost, _ = ping(lab, VICTIM, 200)
    assert 63 <= lost <= 87
    assert ping(lab, BYSTANDER, 50)[0] == 0
    assert eventually(
        lambda: connect(lab, VICTIM, timeout_s=10) >= 0, within_s=60, what="a connection that gets through"
    )


@pytest.mark.parametrize(("fault", "state"), [("kill", "stopped"), ("pause", "running")])
def test_05_a_unit_is_broken_and_nobody_else_s(lab: Lab, fault: str, state: str) -> None:
    broken(lab, fault, unit="app")
    health = "http://127.0.0.1:8080/health"
    eventually(
        lambda: lab.http(VICTIM, "GET", health, timeout_s=1).status == 0,
        what="silence of the application",
    )
    eventually(lambda: lab.unit(VICTIM, "app")["state"] == state, what="its state to be told")
    assert lab.http(BYSTANDER, "GET", health).status == 200
    assert lab.unit(VICTIM, "sidecar")["state"] == "running"
    assert keeper.heal(lab.driver) == [f"{fault} {VICTIM} app"]
    eventually(
        lambda: lab.http(VICTIM, "GET", health, timeout_s=1).status == 200,
        what="its application again",
    )


# --------------------------------------------------------------------------------------------------- their ends


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if not fault.needs_unit])
def test_06_a_fault_of_packets_ends_by_itself_after_its_time(lab: Lab, fault: str) -> None:
    broken(lab, fault, duration_s=stretched(LASTS_S))
    began = time.monotonic()
    assert rules(lab, VICTIM) != []
    # Before its keeper would lose patience, which is 10 s later.
    eventually(lambda: not rules(lab, VICTIM), within_s=LASTS_S + 8.0, what="its rules to be gone")
    assert time.monotonic() - began > stretched(LASTS_S - 2.0), "not before"
    eventually(lambda: not keeper.under_way(lab.driver), what="its keeper to be gone")
    assert answers(lab, VICTIM)


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.needs_unit])
def test_07_a_fault_of_a_unit_ends_by_itself_after_its_time(lab: Lab, fault: str) -> None:
    broken(lab, fault, duration_s=stretched(LASTS_S), unit="app")
    began = time.monotonic()
    health = "http://127.0.0.1:8080/health"
    assert lab.http(VICTIM, "GET", health, timeout_s=1).status == 0, "it is broken"
    eventually(
        lambda: lab.http(VICTIM, "GET", health, timeout_s=1).status == 200,
        within_s=LASTS_S + PATIENCE_S,
        what="its application again",
    )
    assert time.monotonic() - began > stretched(LASTS_S - 2.0), "not before"
    eventually(lambda: not keeper.under_way(lab.driver), what="its keeper to be gone")


def test_08_heal_ends_all_of_them_now_and_names_them(lab: Lab) -> None:
    broken(lab, "delay", by="500ms")
    broken(lab, "loss", percent="10")
    broken(lab, "pause", unit="app")
    assert sorted(keeper.under_way(lab.driver)) == sorted(keeper.heal(lab.driver))
    assert keeper.under_way(lab.driver) == []
    assert rules(lab, VICTIM) == []
    assert middle(ping(lab, VICTIM, 10)[1]) < 0.4


def test_09_another_of_the_same_kind_is_refused_and_another_kind_is_not(lab: Lab) -> None:
    broken(lab, "delay", by="100ms")
    with pytest.raises(LabError, match=r"delay payment-1 is under way already for another \d+s; end it with: lab heal"):
        broken(lab, "delay", by="300ms")
    broken(lab, "loss", percent="50")
    lost, trips = ping(lab, VICTIM, 100)
    assert lost > 40
    assert middle(trips) >= 0.1, "what is not lost is late as well"
    broken(lab, "kill", unit="app")
    with pytest.raises(LabError, match="kill payment-1 app is under way already"):
        broken(lab, "pause", unit="app")
    wanted = {"fault": "delay", "duration_s": 60, "by_s": 0.3, "address": lab.driver.address_of(VICTIM)}
    program = (checkout() / "lab" / "onhost" / "fault.py").read_text()
    done = lab.python(VICTIM, program, json.dumps(wanted), user="root")
    assert (done.exit_code, done.stdout) == (1, "this host has a delay already\n"), "whoever started the other"


def test_10_a_fault_of_packets_ends_with_its_keeper(lab: Lab) -> None:
    broken(lab, "cut")
    os.kill(keeper_of(lab, "cut"), signal.SIGKILL)
    eventually(lambda: answers(lab, VICTIM), what="the host, without any command of the lab")
    eventually(lambda: not rules(lab, VICTIM), what="its rules to be gone")
    assert keeper.under_way(lab.driver) == []


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_11_a_fault_of_a_unit_ends_with_its_keeper(lab: Lab, fault: str) -> None:
    broken(lab, fault, unit="app")
    os.kill(keeper_of(lab, fault, "app"), signal.SIGKILL)
    eventually(
        lambda: lab.http(VICTIM, "GET", "http://127.0.0.1:8080/health", timeout_s=1).status == 200,
        what="its application, without any command of the lab",
    )
    eventually(lambda: keeper.under_way(lab.driver) == [], what="no fault")


def test_12_a_fault_ends_with_its_program_and_the_next_takes_away_its_rules(lab: Lab) -> None:
    broken(lab, "cut")
    assert lab.python(VICTIM, KILL_PROGRAM, user="root").stdout.strip(), "no program was found"
    eventually(lambda: answers(lab, VICTIM), what="the packets to pass again")
    eventually(lambda: keeper.under_way(lab.driver) == [], what="the keeper to notice")
    broken(lab, "cut")
    assert not answers(lab, VICTIM)


def test_13_a_record_without_anybody_is_ended_by_the_next_command(lab: Lab) -> None:
    """Keeper and guard are both gone, as after a machine's restart: the unit is still as it was left."""
    lab.driver.unit(VICTIM, "app", "stop-now")
    left = order("kill", VICTIM, duration_s=1, options={"unit": "app"})
    path = records.path_of(lab.driver.lab_name, left)
    with path.open("w") as handle:
        records.write(handle, left, left_s=-100.0)
    assert keeper.under_way(lab.driver) == []
    assert not path.exists()
    eventually(lambda: lab.unit(VICTIM, "app")["state"] == "running", what="the unit to run again")


# --------------------------------------------------------------------------------------------------- the command


def command(lab: Lab, *argv: str) -> subprocess.CompletedProcess[str]:
    argv = (str(Path(sys.prefix) / "bin" / "lab"), *argv)
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=120, check=False, env=lab.environment, cwd=checkout()
    )


def test_14_the_control_plane_is_stopped_by_its_own_word_and_comes_back(lab: Lab) -> None:
    done = command(lab, "break", "stop-control-plane", "--for", "20s")
    assert done.returncode == 0, done.stderr
    assert "heals by itself in 20s" in done.stderr
    assert json.loads(command(lab, "status", "-o", "json").stdout)["faults"] == ["kill cp-1 control-plane"]
    eventually(lambda: lab.mesh("ca", "roots").exit_code == 4, what="silence of the control plane")
    assert "kill cp-1 control-plane, for another" in command(lab, "status").stderr
    eventually(
        lambda: lab.mesh("ca", "roots").exit_code == 0, within_s=20.0 + PATIENCE_S, what="the control plane again"
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["cut", "payment-9"], "no host 'payment-9'", id="no such host"),
        pytest.param(["kill", VICTIM, "--unit", "engine"], "no unit 'engine' on payment-1", id="no such unit"),
        pytest.param(["delay", VICTIM, "--by", "1h"], "at most 10s", id="too much of it"),
    ],
)
def test_15_what_cannot_be_broken_is_refused_by_name(lab: Lab, argv: list[str], words: str) -> None:
    done = command(lab, "break", *argv)
    assert done.returncode == 2
    assert words in done.stderr
    assert keeper.under_way(lab.driver) == []


@only_on("netns", why="elsewhere a machine carries one lab at a time, and this one ends")
def test_16_a_lab_that_goes_down_takes_its_keepers_along(lab: Lab, tmp_path: Path) -> None:
    from tests.e2e.kit import topology_with

    twin = Lab(f"{lab.driver.lab_name}-twin")
    try:
        twin.up(topology=topology_with(tmp_path, ("cp-1", "stranger-1")))
        pids = []
        for fault, host, unit in (("cut", "stranger-1", ""), ("kill", "cp-1", "control-plane")):
            keeper.inject(twin.driver, fault, host, duration_s=60, options={"unit": unit})
        pids = [record.pid for record in keeper.kept(twin.driver)]
        assert len(pids) == 2
    finally:
        twin.driver.down()
        (checkout() / ".lab" / f"{twin.driver.lab_name}.lock").unlink(missing_ok=True)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the keepers to end")
