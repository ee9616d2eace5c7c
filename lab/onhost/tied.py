"""Run a command on a host for somebody elsewhere, and end it when that somebody is gone.

    python -c LOADER SIZE COMMAND ... (which reads this very text from standard input)

Docker does not end a process in a container when the `docker exec` that started it is killed. So standard input comes
in frames (four bytes of length, then as many bytes; length 0 is its end), and frames that break off mean that the other
side died: then the command dies too. `lab/compose/enter.py` and `calls.py` are the other side.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading

CANNOT_START = 127  # as a shell says it


def read_exactly(size: int) -> bytes:
    """Return `size` bytes of standard input, or fewer at its end."""
    found = b""
    while len(found) < size and (chunk := os.read(0, size - len(found))):
        found += chunk
    return found


def feed(pid: int, pipe: int) -> None:
    """Hand the frames on to the command; kill it, and what it started, when they break off."""
    while len(head := read_exactly(4)) == 4:
        size = int.from_bytes(head, "big")
        if not size:
            os.close(pipe)  # from here on standard input is the lifeline and nothing else
            continue
        if not hand_on(read_exactly(size), pipe):
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def hand_on(data: bytes, pipe: int) -> bool:
    """Write to the command; say whether the other side still lived when all was written, or nobody reads it any more.

    A command that does not read lets a write wait for ever, and the other side may die meanwhile.
    """
    watched = select.poll()
    watched.register(0, 0)  # its end is told without being asked for
    watched.register(pipe, select.POLLOUT)
    while data:
        for descriptor, _ in watched.poll():
            if descriptor == 0:
                return False
            try:
                data = data[os.write(pipe, data[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                return True
    return True


def become(argv: list[str], pipe: int) -> None:
    """In the fork: be the command. Never returns."""
    os.setsid()
    os.dup2(pipe, 0)
    os.closerange(3, 64)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    os._exit(CANNOT_START)


def main(argv: list[str]) -> None:
    """Run the command and end as it ended; a signal is told as a shell would."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(argv, read_end)
    os.close(read_end)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    threading.Thread(target=feed, args=(pid, write_end), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[2:])
