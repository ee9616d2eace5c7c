"""A command that is tied to somebody elsewhere gets its input, ends as it would, and never outlives that somebody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from lab.compose.enter import LOADER, TIED
from lab.driver import checkout

MORE_THAN_A_PIPE_HOLDS = bytes(1 << 20)


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@contextmanager
def tied(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """Have a command tied to this process: the process, its input in frames, its output."""
    source = (checkout() / TIED).read_bytes()
    command = [sys.executable, "-I", "-S", "-c", LOADER, str(len(source)), *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(source)
        process.stdin.flush()
        try:
            yield process, process.stdin, process.stdout
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("argv", "frames", "code", "out"),
    [
        pytest.param(("cat",), [b"told ", b"twice"], 0, b"told twice", id="input and output pass through"),
        pytest.param(("wc", "-c"), [MORE_THAN_A_PIPE_HOLDS], 0, b"1048576\n", id="more than a pipe holds"),
        pytest.param(("head", "-c", "1"), [b"a", MORE_THAN_A_PIPE_HOLDS], 0, b"a", id="a command that reads no more"),
        pytest.param(("sh", "-c", "exit 7"), [], 7, b"", id="its exit code"),
        pytest.param(("sh", "-c", "kill -TERM $$"), [], 128 + signal.SIGTERM, b"", id="a signal, as shells say it"),
        pytest.param(("/nonesuch",), [], 127, b"", id="a command that there is not"),
    ],
)
def test_it_is_like_any_other_command(argv: tuple[str, ...], frames: list[bytes], code: int, out: bytes) -> None:
    with tied(*argv) as (process, to, back):
        try:
            to.write(b"".join(map(frame, frames)) + bytes(4))
            to.flush()
        except BrokenPipeError:  # it has ended already
            assert code or argv[0] == "head"
        said = back.read()
        assert (process.wait(timeout=20), said) == (code, out)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="that has said nothing"),
        pytest.param(bytes(4), id="that has said all"),
        pytest.param(frame(MORE_THAN_A_PIPE_HOLDS)[:4096], id="in the middle of a frame"),
        pytest.param(frame(MORE_THAN_A_PIPE_HOLDS), id="of whom the command has not read all"),
    ],
)
def test_it_ends_with_the_one_it_is_tied_to(sent: bytes) -> None:
    child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with tied(sys.executable, "-c", child) as (process, to, back):
        pid = int(back.readline())
        to.write(sent)
        to.close()
        assert process.wait(timeout=20) == 128 + signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
