"""Waiting for programs that take minutes: say what is waited for, and give up with what they said last."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

from lab.driver import LabError, Progress

LOOK_S = 0.5
END_GRACE_S = 20.0
TIMED_OUT = 124
PR_SET_PDEATHSIG = 1  # linux/prctl.h
MAX_LINE = 300
TAIL_BYTES = 65536
KEPT_LINES = 500


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds: 80 -> `1:20`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file that say something; none when it is not there."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    lines = [_printable(line) for line in text.replace("\r", "\n").splitlines()]
    return [line[:MAX_LINE] for line in lines if line.strip()][-count:]


def text_since(path: Path, start: int) -> str:
    """Return what a log says from a place on, its end if that is much; nothing when it is not there."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(start, path.stat().st_size - TAIL_BYTES))
            return handle.read().decode(errors="replace")
    except OSError:
        return ""


def size_of(path: Path) -> int:
    """Return how long a log is, 0 when it is not there."""
    return path.stat().st_size if path.exists() else 0


def _printable(line: str) -> str:
    return "".join(char for char in line if char.isprintable() or char == "\t").rstrip()


def follow(
    argv: Sequence[str],
    log: Path,
    *,
    at: Callable[[], str],
    began: float,
    limit_s: float,
    cwd: Path,
    environment: Mapping[str, str],
) -> Generator[Progress]:
    """Run a program that takes long, and yield again and again what it is at.

    Args:
        argv: the program.
        log: where what it says is appended to.
        at: says what it is at, in a few words.
        began: monotonic seconds; when the whole command began.
        limit_s: after so many seconds it is ended.
        cwd: where it runs.
        environment: all of its environment.

    Raises:
        LabError: it failed (exit code 1) or took too long (124); the text is `at`'s, and what it said is in the log.
    """
    started = time.monotonic()
    with (
        log.open("ab") as said,
        _running(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=cwd, env=dict(environment)) as process,
    ):
        while process.poll() is None:
            taken = time.monotonic() - started
            if taken > limit_s:
                raise LabError(f"{at()}: not done after {clock(limit_s)}", exit_code=TIMED_OUT)
            now = time.monotonic() - began
            yield Progress(f"{at()} ({clock(taken)} of at most {clock(limit_s)})", is_done=False, elapsed_s=now)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
    if process.returncode:
        raise LabError(f"{at()}: it failed")


def beside(first: Generator[Progress], second: Generator[Progress]) -> Iterator[Progress]:
    """Do two works at once; yield the steps of the first, then what is left of the second. One that fails ends both."""
    with contextlib.closing(first), contextlib.closing(second):
        for step in first:
            yield step
            next(second, None)
        yield from second


@contextlib.contextmanager
def _running(argv: Sequence[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program with all its children while the block runs; whatever ends the block ends them."""
    parent = os.getpid()
    try:
        process = subprocess.Popen(  # type: ignore[call-overload]
            argv, start_new_session=True, preexec_fn=lambda: _end_with(parent), **options
        )
    except FileNotFoundError:
        raise LabError(f"this machine has no {argv[0]}; see what is missing with: lab check") from None
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_GRACE_S)


def _end_with(parent: int) -> None:
    """In a child: end when the parent does, also by kill -9. Elsewhere than on Linux there is no such promise."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(TIMED_OUT)
