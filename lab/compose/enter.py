"""The command behind `lab exec`: `docker exec` as it should be. Started as a file, with nothing but the stdlib.

    python enter.py UID:GID CONTAINER COMMAND ...

Standard input, output, error and the exit code pass through, and the command in the container ends when this process
does, however it ends: `lab/onhost/tied.py` watches on the other side. On a terminal it is `docker exec -it` itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

CHUNK = 65536
PYTHON = "/opt/meshyard/bin/python"
# Reads the program from standard input, so that `ps` on the host shows a line and not a file.
LOADER = """import os, sys
text, size = b"", int(sys.argv[1])
while len(text) < size:
    text += os.read(0, size - len(text)) or sys.exit(1)
exec(compile(text, "tied.py", "exec"))"""
TIED = Path(__file__).resolve().parent.parent / "onhost" / "tied.py"


def tied(argv: Sequence[str]) -> tuple[bytes, list[str]]:
    """Return the program that watches over a command, to be sent first, and the command that runs both."""
    source = TIED.read_bytes()
    return source, [PYTHON, "-I", "-S", "-c", LOADER, str(len(source)), *argv]


def frame(chunk: bytes) -> bytes:
    """Return a piece of standard input as it is sent; an empty piece is its end."""
    return len(chunk).to_bytes(4, "big") + chunk


def framed(data: bytes) -> bytes:
    """Return the whole of a standard input as it is sent."""
    return (frame(data) if data else b"") + frame(b"")


def feed(pipe: IO[bytes], source: bytes) -> None:
    """Send the program, then standard input in frames; its end is a frame, too, and the pipe stays open."""
    try:
        pipe.write(source)
        pipe.flush()
        while chunk := os.read(0, CHUNK):
            pipe.write(frame(chunk))
            pipe.flush()
        pipe.write(frame(b""))
        pipe.flush()
    except OSError:  # the command has ended and reads no more
        return


def main(argv: list[str]) -> int:
    """Run the command; return its exit code."""
    user, container, *command = argv
    options = ["--user", user, "--workdir", "/"]
    if os.isatty(0) and os.isatty(1):
        os.execvp("docker", ["docker", "exec", "-it", *options, container, *command])  # noqa: S606
    source, inside = tied(command)
    process = subprocess.Popen(["docker", "exec", "-i", *options, container, *inside], stdin=subprocess.PIPE)
    assert process.stdin is not None
    threading.Thread(target=feed, args=(process.stdin, source), daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code if code >= 0 else 128 - code)
