"""A command through an engine's API; the engine is a fake, what watches over the command is the real program."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError, NotFound

from lab.compose import calls
from lab.compose.engine import Engine
from lab.driver import LabError

pytestmark = pytest.mark.slow  # programs are started
BIG = 3_000_000
ECHO = "import sys; sys.stdout.write(sys.stdin.read())"


class FakeApi:
    """An engine with one exec: it runs on this machine, behind a socket as the real one's."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self.refusal = ""
        self.looks = self.knows_after = 0
        self.gone: Exception | None = None

    def exec_create(self, container: str, command: list[str], **options: Any) -> dict[str, str]:
        if self.refusal:
            raise APIError("conflict", explanation=self.refusal)
        self.asked = {"container": container, "command": command, **options}
        return {"Id": "1"}

    def exec_start(self, created: str, *, socket: bool) -> Any:
        assert created == "1"
        assert socket
        ours, theirs = _pair()
        argv = [sys.executable, *self.asked["command"][1:]]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        copies = [
            threading.Thread(target=_frames, args=(self.process.stdout, ours, 1, lock := threading.Lock())),
            threading.Thread(target=_frames, args=(self.process.stderr, ours, 2, lock)),
        ]
        threading.Thread(target=_pour, args=(ours, self.process.stdin), daemon=True).start()
        threading.Thread(target=self._end, args=(ours, copies), daemon=True).start()
        return theirs.makefile("rb", buffering=0)

    def _end(self, link: socket.socket, copies: list[threading.Thread]) -> None:
        assert self.process is not None
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        self.process.wait()
        calls._shut(link)
        link.close()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.ended.set()

    def exec_inspect(self, created: str) -> dict[str, Any]:
        assert created == "1"
        if self.gone is not None:
            raise self.gone
        assert self.process is not None
        self.looks += 1
        if self.looks <= self.knows_after:
            return {"Running": True, "ExitCode": None}
        return {"Running": False, "ExitCode": self.process.wait()}


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def _pour(link: socket.socket, pipe: Any) -> None:
    try:
        while data := link.recv(65536):
            pipe.write(data)
            pipe.flush()
    except OSError:  # the command has ended
        pass
    with contextlib.suppress(OSError):
        pipe.close()


def _frames(pipe: Any, link: socket.socket, number: int, lock: threading.Lock) -> None:
    while data := pipe.read1(65536):
        with lock:
            try:
                link.sendall(bytes([number, 0, 0, 0]) + len(data).to_bytes(4, "big") + data)
            except OSError:  # who called has gone
                return


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    yield fake
    if fake.process is not None:
        fake.process.kill()
        assert fake.ended.wait(30)


def call(api: FakeApi, script: str, stdin: str = "", timeout_s: float = 60.0) -> Any:
    engine = Engine(SimpleNamespace(api=api), "unix:///run/docker.sock", "20.10", "amd64")
    return calls.call(
        engine, "lab-order-1", "1338:1339", [sys.executable, "-c", script], stdin=stdin, timeout_s=timeout_s
    )


def test_both_outputs_and_the_exit_code_come_back(api: FakeApi) -> None:
    done = call(api, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (done.exit_code, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert (api.asked["container"], api.asked["user"], api.asked["workdir"]) == ("lab-order-1", "1338:1339", "/")


@pytest.mark.parametrize("text", ["", "äöü\n", "x" * BIG])
def test_standard_input_arrives_whole_and_ends(api: FakeApi, text: str) -> None:
    assert call(api, ECHO, text).stdout == text


def test_a_command_may_say_much_before_it_reads_much(api: FakeApi) -> None:
    done = call(api, f"import sys; sys.stdout.write('y' * {BIG}); print(len(sys.stdin.read()))", "x" * BIG)
    assert done.stdout == "y" * BIG + f"{BIG}\n"


def test_a_command_that_reads_nothing_is_waited_for_no_longer_than_it_runs(api: FakeApi) -> None:
    assert call(api, "print('enough')", "x" * BIG).stdout == "enough\n"


def test_an_engine_that_knows_of_the_end_a_little_later_is_asked_again(api: FakeApi) -> None:
    api.knows_after = 3
    assert call(api, "raise SystemExit(9)").exit_code == 9


def test_an_engine_that_never_knows_is_told(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "KNOWS_S", 0.1)
    api.knows_after = 1_000_000
    with pytest.raises(LabError, match="runs which has said its last"):
        call(api, "print(1)")


@pytest.mark.parametrize("gone", [NotFound("No such exec instance"), requests.ConnectionError("refused")])
def test_a_container_or_an_engine_that_went_away_is_told(api: FakeApi, gone: Exception) -> None:
    api.gone = gone
    with pytest.raises(LabError, match=r"lab-order-1 or its engine went away while .* ran: "):
        call(api, "print(1)")


def test_a_program_that_the_engine_could_not_run_is_told(api: FakeApi) -> None:
    done = call(api, "raise SystemExit(126)")
    assert (done.exit_code, done.stderr) == (126, "the engine could not run /opt/meshyard/bin/python in lab-order-1\n")


def test_ends_of_lines_are_one_character(api: FakeApi) -> None:
    assert call(api, r"import sys; sys.stdout.buffer.write(b'a\r\nb\n')").stdout == "a\nb\n"


def test_a_command_that_takes_too_long_is_killed(api: FakeApi, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        call(api, f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)", timeout_s=6.0)
    assert api.ended.wait(30), "its watcher and it have ended"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{mark.read_text()}").exists():
        assert time.monotonic() < deadline, "the command is left behind"
        time.sleep(0.02)


def test_a_refusal_of_the_engine_is_told_as_docker_exec_tells_it(api: FakeApi) -> None:
    api.refusal = "container lab-order-1 is not running"
    done = call(api, ECHO)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "container lab-order-1 is not running\n")


def test_an_engine_elsewhere_is_asked_by_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS or ssh what is sent and what comes may wait for each other."""
    asked: list[list[str]] = []

    def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        assert options["env"]["DOCKER_HOST"] == "ssh://elsewhere"
        return subprocess.CompletedProcess(argv, 3, "out", "err")

    monkeypatch.setattr(subprocess, "run", run)
    engine = Engine(None, "ssh://elsewhere", "20.10", "amd64")
    done = calls.call(engine, "lab-order-1", "1338:1339", ["true"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out", "err")
    assert asked == [calls.command_for("lab-order-1", "1338:1339", ["true"])]
