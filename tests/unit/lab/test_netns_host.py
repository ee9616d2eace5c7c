"""A host of namespaces is there when it has files of its own, and not before."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.driver import LabError
from lab.netns import host as host_module
from lab.netns import init
from lab.netns.host import FURNISHED, Host
from lab.topology import HostSpec, load

SHIPPED = load(Path(__file__).resolve().parents[3] / "lab" / "topology.yaml")
SPEC = SHIPPED.hosts["payment-1"]


@pytest.fixture
def ends() -> Any:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_its_first_word_is_waited_for_and_what_follows_is_left(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(FURNISHED + b'{"unit": 1}\n')
    Host(SPEC, 1, ours).wait_until_furnished()
    assert ours.recv(100) == b'{"unit": 1}\n'
    assert ours.gettimeout() is None


def test_one_that_ends_before_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(LabError, match=r"payment-1 did not become a host; why is in the lab's init.log"):
        Host(SPEC, 1, ours).wait_until_furnished()


def test_one_that_takes_too_long_is_told(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "FURNISH_S", 0.01)
    with pytest.raises(LabError, match="payment-1 did not become a host"):
        Host(SPEC, 1, ends[0]).wait_until_furnished()


@pytest.mark.slow  # a process is started
@pytest.mark.parametrize("says", [FURNISHED, b""])
def test_a_late_host_is_in_the_lab_once_it_is_furnished_or_not_at_all(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    ours, theirs = ends
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    theirs.sendall(says)
    theirs.shutdown(socket.SHUT_WR)

    def start(spec: HostSpec, *_: Any, **__: Any) -> Host:
        return Host(spec, process.pid, ours)

    monkeypatch.setattr(init, "start", start)
    lab: Any = object.__new__(init.Init)
    without = SHIPPED.only([name for name in SHIPPED.hosts if name != SPEC.name])
    lab.plan = SimpleNamespace(checkout=str(Path(__file__).resolve().parents[3]), service_files={})
    lab.topology, lab.hosts, lab.selector = without, {}, selectors.DefaultSelector()
    try:
        if says:
            lab.add_late(SPEC, None)
            assert list(lab.hosts) == [SPEC.name]
            assert SPEC.name in lab.topology.hosts
            assert process.poll() is None
        else:
            with pytest.raises(LabError):
                lab.add_late(SPEC, None)
            assert (lab.hosts, lab.topology) == ({}, without)
            assert process.wait(30) == -9
            assert not lab.selector.get_map()
    finally:
        process.kill()
        process.wait()
        lab.selector.close()
