"""Long waits say what is waited for, and give up with a name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from lab.driver import LabError, Progress
from lab.topology import load
from lab.vagrant import patience, play
from lab.vagrant.machines import BOOTED, batches
from lab.vagrant.place import topology_text

ROOT = Path(__file__).resolve().parents[4]
PLAYED = """
PLAY [Bring every service into the mesh] ***************************************

TASK [base : Make the groups] **************************************************
ok: [order-1]

RUNNING HANDLER [mesh_agent : Restart the agent] *******************************
"""
FATAL = """
TASK [mesh_agent : Wait until it has its certificate] **************************
ok: [order-1]
fatal: [payment-1]: FAILED! =>
    changed: false
    msg: Status code was -1

PLAY RECAP *********************************************************************
"""


def run(tmp_path: Path, script: str, limit_s: float = 20.0) -> list[str]:
    return [step.text for step in follow(tmp_path, script, limit_s)]


def follow(tmp_path: Path, script: str, limit_s: float = 20.0) -> Generator[Progress]:
    return patience.follow(
        [sys.executable, "-c", script],
        tmp_path / "log",
        at=lambda: "order-1 boots",
        began=time.monotonic(),
        limit_s=limit_s,
        cwd=tmp_path,
        environment=os.environ,
    )


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (80.9, "1:20"), (600, "10:00")])
def test_clock(seconds: float, shown: str) -> None:
    assert patience.clock(seconds) == shown


def test_what_is_waited_for_is_said(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)\n"
    steps = follow(tmp_path, f"{wait}print('hello')")
    assert next(steps).text == "order-1 boots (0:00 of at most 0:20)"
    go_on.touch()
    assert all(step.text.startswith("order-1 boots (0:") for step in steps)
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_program_that_fails(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="order-1 boots: it failed"):
        run(tmp_path, "raise SystemExit(3)")


@pytest.mark.slow
def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    child = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(1000)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(LabError, match="order-1 boots: not done after 0:05") as error:
        run(tmp_path, script, limit_s=5.5)
    assert error.value.exit_code == 124
    assert has_ended(int((tmp_path / "pid").read_text()))


def has_ended(pid: int) -> bool:
    """Say whether a process ends within ten seconds; one that only waits to be collected has ended."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_program_ends_with_a_lab_command_that_is_killed(tmp_path: Path) -> None:
    child = (
        "import os, time; open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); time.sleep(1000)"
    )
    script = f"""
import os, sys, time
from collections.abc import Generator
from pathlib import Path
from lab.vagrant import patience
here = Path(sys.argv[1])
for _ in patience.follow([sys.executable, "-c", {child!r}], here / "log", at=str, began=0.0, limit_s=60, cwd=here,
                         environment=os.environ):
    if (here / "pid").exists():
        os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -9
    deadline = time.monotonic() + 20
    while Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists():
        assert time.monotonic() < deadline, "the program goes on without the command that started it"


def test_a_program_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="this machine has no /nonesuch"):
        list(
            patience.follow(
                ["/nonesuch"], tmp_path / "log", at=str, began=0.0, limit_s=1, cwd=tmp_path, environment=os.environ
            )
        )


def test_the_last_words_of_a_console(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"\x1b[2Jone\r\n\r\ntwo\n\xff\nthree\n")
    assert patience.last_lines(console, 2)[-1] == "three"
    assert patience.last_lines(tmp_path / "nonesuch", 2) == []


def test_what_ansible_is_at() -> None:
    assert play.task_of("") == "it starts"
    assert play.task_of(PLAYED) == "Restart the agent"


def test_what_ansible_failed_at() -> None:
    assert play.what_failed(FATAL).splitlines()[:3] == [
        "  fatal: [payment-1]: FAILED! =>",
        "      changed: false",
        "      msg: Status code was -1",
    ]
    assert "last words" in play.what_failed("a\nlast words\n")


def test_which_machines_answered() -> None:
    log = "==> cp-1: Starting domain.\n==> order-1: Machine booted and ready!\n"
    assert BOOTED.findall(log) == ["order-1"]


@pytest.mark.parametrize(
    ("hosts", "together", "expected"),
    [
        pytest.param([], 2, [], id="none"),
        pytest.param(["a"], 2, [["a"]], id="one"),
        pytest.param(["a", "b", "c", "d"], 2, [["a"], ["b", "c"], ["d"]], id="the first makes the networks"),
    ],
)
def test_machines_boot_a_few_at_a_time(hosts: list[str], together: int, expected: list[list[str]]) -> None:
    assert batches(hosts, together) == expected


def test_a_topology_is_read_back_as_it_was(tmp_path: Path) -> None:
    topology = load(ROOT / "lab/topology.yaml", {"leaf_ttl": "10s"})
    (tmp_path / "topology.json").write_text(topology_text(topology))
    assert load(tmp_path / "topology.json") == topology


def work(name: str, steps: int, done: list[str], *, fails: bool = False) -> Generator[Progress]:
    try:
        for number in range(steps):
            done.append(f"{name}{number}")
            yield Progress(f"{name}{number}", is_done=False, elapsed_s=0.0)
        if fails:
            raise LabError(f"{name} failed")
    finally:
        done.append(f"{name} ended")


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param((2, 3), ["a0", "a1", "b2"], id="what the second still does is told"),
        pytest.param((3, 1), ["a0", "a1", "a2"], id="otherwise the first one's steps"),
    ],
)
def test_two_works_at_once(steps: tuple[int, int], told: list[str]) -> None:
    done: list[str] = []
    said = [step.text for step in patience.beside(work("a", steps[0], done), work("b", steps[1], done))]
    assert said == told
    assert done[:3] == ["a0", "b0", "a1"], "one step of each in turn"
    assert {"a ended", "b ended"} <= set(done)


@pytest.mark.parametrize("failing", ["a", "b"])
def test_one_that_fails_ends_the_other(failing: str) -> None:
    done: list[str] = []
    both = [work(name, 1 if name == failing else 9, done, fails=name == failing) for name in "ab"]
    with pytest.raises(LabError, match=f"{failing} failed"):
        list(patience.beside(*both))
    assert {"a ended", "b ended"} <= set(done)
    assert len(done) < 9


def test_ansible_is_frugal_by_a_strategy_that_there_is() -> None:
    said = play.frugal()
    assert (Path(said["ANSIBLE_STRATEGY_PLUGINS"]) / f"{said['ANSIBLE_STRATEGY']}.py").is_file()
