"""A lab on Docker goes without a trace: after `down`, after a failed start, after kill -9 of `up` at any moment."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.compose.engine import Engine, connect
from lab.driver import checkout
from tests.e2e.kit import Lab, eventually, only_on

pytestmark = only_on("compose", why="what it looks for are containers, networks, volumes and the engine's rules")
LAB_COMMAND = str(Path(sys.prefix) / "bin" / "lab")
MOMENTS = 3
SLOWEST_UP_S = 240.0


@functools.cache
def engine() -> Engine:
    return connect()


def command(lab: Lab, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAB_COMMAND, *argv], env=lab.environment, cwd=checkout(), capture_output=True, text=True, timeout=SLOWEST_UP_S
    )


def machine(lab: Lab) -> dict[str, Any]:
    """Return what a lab could leave behind; of the engine only what is this lab's, since others may use it."""
    api, mine = engine().client.api, {"label": f"dev.meshyard.lab={lab.driver.lab_name}"}
    of_project = {"label": f"com.docker.compose.project=meshyard-{lab.driver.lab_name}"}
    saved = [
        subprocess.run([tool], capture_output=True, text=True).stdout for tool in ("iptables-save", "ip6tables-save")
    ]
    return {
        "containers": [one["Names"] for label in (mine, of_project) for one in api.containers(all=True, filters=label)],
        "networks": [one["Name"] for label in (mine, of_project) for one in api.networks(names=None, filters=label)],
        "volumes": [one["Name"] for one in (api.volumes(filters=mine).get("Volumes") or [])],
        "images": [one["RepoTags"] for one in api.images(filters=mine)],
        "links": {name for name in os.listdir("/sys/class/net") if name.startswith("br-")},
        "rules": [sorted(line for line in text.splitlines() if line.startswith("-A")) for text in saved],
        "folder": (checkout() / ".lab" / lab.driver.lab_name).exists(),
        "strays": strays(lab),
    }


def strays(lab: Lab) -> list[str]:
    """Return the processes on this machine that still start containers for the lab."""
    wanted = f"MESHYARD_STARTS={checkout() / '.lab' / lab.driver.lab_name}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.fixture
def bare(lab: Lab) -> dict[str, Any]:
    """End the lab, and return what this machine is without one."""
    lab.driver.down()
    found = machine(lab)
    assert not any(found[kind] for kind in ("containers", "networks", "volumes", "images", "folder", "strays"))
    return found


def test_01_up_and_down_twice_leave_the_machine_as_it_was(lab: Lab, bare: dict[str, Any]) -> None:
    for _ in range(2):
        done = command(lab, "up")
        assert done.returncode == 0, done.stderr
        there = machine(lab)
        assert len(there["containers"]) > 80, "the lab runs, so there is something to leave behind"
        assert there["rules"] != bare["rules"]
        assert lab.order().status == 201
        assert command(lab, "down").returncode == 0
        assert machine(lab) == bare
    assert command(lab, "down").returncode == 0, "safe to say twice"


def test_02_a_lab_whose_compose_file_is_gone_goes_too(lab: Lab, bare: dict[str, Any]) -> None:
    done = command(lab, "up", "--hosts", "cp-1,payment-1")
    assert done.returncode == 0, done.stderr
    own = lab.folder / "compose.yaml"
    assert "payment-1-app" in own.read_text(), "a lab of other hosts has a file of its own"
    shutil.rmtree(lab.folder)
    assert command(lab, "down").returncode == 0
    assert machine(lab) == bare


def test_03_kill_9_at_random_moments_of_up(lab: Lab, bare: dict[str, Any]) -> None:
    chance = random.Random(31)
    for kind in ("process", *["group"] * (MOMENTS - 1)):
        process = subprocess.Popen(
            [LAB_COMMAND, "up"],
            env=lab.environment,
            cwd=checkout(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after_s = chance.uniform(0.0, 8.0)
        eventually(lambda: machine(lab)["containers"], within_s=SLOWEST_UP_S, what="the first container")
        deadline = time.monotonic() + after_s
        eventually(lambda: time.monotonic() > deadline, what="the moment")  # noqa: B023
        (os.kill if kind == "process" else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        assert not lab.driver.is_up()
        assert command(lab, "down").returncode == 0
        assert machine(lab) == bare, f"killed the {kind} after {after_s:.1f} s"


def test_04_ctrl_c_in_up_leaves_nothing(lab: Lab, bare: dict[str, Any]) -> None:
    process = subprocess.Popen(
        [LAB_COMMAND, "up"], env=lab.environment, cwd=checkout(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    eventually(lambda: len(machine(lab)["containers"]) > 30, within_s=SLOWEST_UP_S, what="units to be made")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert machine(lab) == bare


def broken(lab: Lab, tmp_path: Path, app: str) -> subprocess.CompletedProcess[str]:
    """Start a lab in which one application is not what it should be."""
    folder = tmp_path / "payment-service"
    shutil.copytree(checkout() / "demo-services" / "payment-service", folder)
    (folder / "app.py").write_text(app)
    topology = tmp_path / "topology.yaml"
    text = (checkout() / "lab" / "topology.yaml").read_text()
    old = "    service: payment-service\n"
    topology.write_text(text.replace(old, f"{old}    service_dir: {folder}\n", 1))
    return command(lab, "up", "--topology", str(topology), "--hosts", "cp-1,ledger-1,payment-1", "--timeout", "60s")


@pytest.mark.parametrize(
    ("app", "says"),
    [
        pytest.param("import time\ntime.sleep(3600)\n", "waiting for payment-1: its health check", id="does nothing"),
        pytest.param("raise SystemExit('no card reader')\n", "it said last: no card reader", id="ends at once"),
    ],
)
def test_05_a_start_that_fails_names_the_slowest_gate_and_leaves_nothing(
    lab: Lab, bare: dict[str, Any], tmp_path: Path, app: str, says: str
) -> None:
    done = broken(lab, tmp_path, app)
    kept = lab.folder.with_name(f"{lab.driver.lab_name}-failed")
    try:
        assert done.returncode == 124, done.stderr
        assert says in done.stderr
        assert "ledger-1" not in done.stderr.partition("waiting for")[2].partition("\n")[0], "only what is missing"
        assert f"logs kept in {kept}" in done.stderr
        assert (kept / "ledger-1.agent.log").read_text()
        assert machine(lab) == bare
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def test_06_addresses_that_are_taken_are_said_in_one_line(lab: Lab, bare: dict[str, Any]) -> None:
    api = engine().client.api
    name = f"meshyard-test-{os.getpid()}"
    ipam = {"Driver": "default", "Config": [{"Subnet": "10.77.128.0/24"}]}
    api.create_network(name, driver="bridge", ipam=ipam)
    try:
        done = command(lab, "up")
        assert done.returncode == 1
        assert f"docker network rm {name}" in done.stderr
    finally:
        api.remove_network(name)
    assert machine(lab) == bare


def test_07_a_machine_carries_one_lab_at_a_time(lab: Lab, bare: dict[str, Any]) -> None:
    assert command(lab, "up", "--hosts", "cp-1,payment-1").returncode == 0
    names = {"LAB_NAME": f"{lab.driver.lab_name}-twin", "LAB": "compose"}
    done = subprocess.run([LAB_COMMAND, "up"], env={**os.environ, **names}, capture_output=True, text=True, timeout=60)
    (checkout() / ".lab" / f"{names['LAB_NAME']}.lock").unlink(missing_ok=True)
    (checkout() / ".lab" / f"{names['LAB_NAME']}.driver").unlink(missing_ok=True)
    assert done.returncode != 0
    assert f"lab --lab {lab.driver.lab_name} --driver compose down" in done.stderr
    assert command(lab, "down").returncode == 0
    assert machine(lab) == bare
