"""Promise 12: after `make down`, and after kill -9 at any moment of `make up`, nothing remains outside the checkout."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.driver import checkout
from lab.netns.driver import NetnsDriver
from tests.e2e.kit import eventually, only_on

pytestmark = only_on("netns", why="it kills processes of namespaces; Docker has a teardown test of its own")
MOMENTS = 10
SLOWEST_UP_S = 90.0
NAME = f"test-teardown-{os.getpid()}"
KINDS = ("net", "mnt", "pid", "uts", "ipc", "user")
PLACES = ("/etc/mesh", "/run/mesh", "/run/real", "/var/lib/mesh", "/var/lib/app", "/var/log/mesh", "/run/netns")


def lab_processes() -> dict[int, set[str]]:
    """Return the processes of this lab and the namespaces each is in; the lab's name is in their environment."""
    found: dict[int, set[str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"/.lab/{NAME}/".encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                found[int(entry.name)] = {os.readlink(entry / "ns" / kind) for kind in KINDS}
        except OSError:
            continue
    return found


def ticks() -> int:
    """Return now, in the kernel's count of a process's start."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def namespaces_in_use(since: int) -> set[str]:
    """Return every namespace that a process older than `since` is in.

    The kernel gives the number of a namespace that ended to the next one at once, so a lab that another test starts
    meanwhile may well have our numbers; whoever holds on to a namespace of ours was there before its end.
    """
    used: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[19]) <= since:
                    used |= {os.readlink(entry / "ns" / kind) for kind in KINDS}
            except OSError:
                continue
    return used


def machine() -> dict[str, object]:
    """Return what a lab could leave on the machine beside processes and namespaces."""
    rules = [
        subprocess.run([tool], capture_output=True, text=True).stdout for tool in ("iptables-save", "ip6tables-save")
    ]
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    links = set(os.listdir("/sys/class/net"))
    sockets = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if f"/.lab/{NAME}/" in line}
    bare = ["".join(line for line in text.splitlines(True) if line[0] not in "#:") for text in rules]
    return {
        "rules": bare,
        "mounts": {mount for mount in mounts if NAME in mount},
        "links": links,
        "sockets": sockets,
        "places": [place for place in PLACES if os.path.exists(place)],
    }


def start_up(scratch: Path) -> subprocess.Popen[bytes]:
    """Start `make up` for a lab of our own, in a process group of its own."""
    env = {**os.environ, "LAB_NAME": NAME, "TMPDIR": str(scratch)}
    return subprocess.Popen(
        ["make", "up"],
        cwd=checkout(),
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    NetnsDriver(NAME).down()
    (checkout() / ".lab" / f"{NAME}.lock").unlink(missing_ok=True)


def assert_nothing_remains(namespaces: set[str], before: dict[str, object], scratch: Path, since: int) -> None:
    eventually(lambda: not lab_processes(), what="every process of the lab to end")
    eventually(lambda: not namespaces & namespaces_in_use(since), what="every namespace of the lab to end")
    assert machine() == before
    assert list(scratch.iterdir()) == []


def test_01_after_make_down_nothing_remains(tmp_path: Path) -> None:
    before = machine()
    ours = namespaces_of_this_process()
    assert start_up(tmp_path).wait(SLOWEST_UP_S) == 0
    running = lab_processes()
    assert len(running) > 20, "the lab runs, so there is something to leave behind"
    namespaces = set().union(*running.values()) - ours
    assert len(namespaces) > 20
    since = ticks()
    done = subprocess.run(["make", "down"], cwd=checkout(), env={**os.environ, "LAB_NAME": NAME}, timeout=30)
    assert done.returncode == 0
    assert_nothing_remains(namespaces, before, tmp_path, since)
    assert not (checkout() / ".lab" / NAME).exists()


def test_02_down_is_safe_to_say_twice() -> None:
    for _ in range(2):
        assert subprocess.run(["make", "down"], cwd=checkout(), env={**os.environ, "LAB_NAME": NAME}).returncode == 0


def test_03_killing_the_one_init_process_is_a_complete_teardown(tmp_path: Path) -> None:
    before = machine()
    ours = namespaces_of_this_process()
    assert start_up(tmp_path).wait(SLOWEST_UP_S) == 0
    namespaces = set().union(*lab_processes().values()) - ours
    from lab.netns.launch import init_pid

    since = ticks()
    os.kill(init_pid(NetnsDriver(NAME).folder), signal.SIGKILL)
    assert_nothing_remains(namespaces, {**before, "sockets": set()}, tmp_path, since)


def test_04_kill_9_at_ten_random_moments_of_make_up(tmp_path: Path) -> None:
    before = machine()
    ours = namespaces_of_this_process()
    began = time.monotonic()
    assert start_up(tmp_path).wait(SLOWEST_UP_S) == 0
    whole_s = time.monotonic() - began
    NetnsDriver(NAME).down()
    chance = random.Random(20)
    for moment in sorted(chance.uniform(0.02, whole_s) for _ in range(MOMENTS)):
        process = start_up(tmp_path)
        seen: set[str] = set()
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and process.poll() is None:
            seen |= set().union(*lab_processes().values())
            time.sleep(0.01)
        since = ticks()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if NetnsDriver(NAME).is_up():  # it was faster than the knife: a lab that is up stays up
            NetnsDriver(NAME).down()
        assert_nothing_remains(seen - ours, before, tmp_path, since)


def namespaces_of_this_process() -> set[str]:
    return {os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
