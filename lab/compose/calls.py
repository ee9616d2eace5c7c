"""A command on a host to its end. `docker exec` is a program that has to start; the engine's own API is there already.

On the other side it is the same as behind `lab exec`: `lab/onhost/tied.py` runs the command, takes its standard input
in frames, and ends it when this side is gone. `lab/compose/enter.py` does the same by `docker exec`: for terminals, for
commands in the background, and here for engines that are not on this machine.
"""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.compose import enter
from lab.compose.engine import Engine
from lab.compose.enter import PYTHON
from lab.driver import Completed, LabError
from lab.telling import last_line

CANNOT_START = 1  # as `docker exec` has it
NO_PROGRAM = (126, 127)  # what the engine itself says of one that it could not run
KNOWS_S, POLL_S = 10.0, 0.02
LOCAL = "unix://"  # a plain socket: what is sent and what comes do not wait for each other


def call(
    engine: Engine, container: str, ids: str, argv: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0
) -> Completed:
    """Run a command in a container to its end.

    Args:
        engine: whose container it is.
        container: by name; it has to run.
        ids: `UID:GID`.
        argv: the command; it is looked for in the PATH of the container's image.
        stdin: all that it can read.
        timeout_s: after so long it is killed with what it started; the engine's own time comes on top.

    Returns:
        Its exit code and what it said; 1 and the engine's own words when the engine refused.

    Raises:
        LabError: the engine or the container was gone before it ended.
        TimeoutError: it was killed.
    """
    if engine.host.startswith(LOCAL):
        return _by_api(engine.client.api, container, ids, argv, stdin, timeout_s)
    command = command_for(container, ids, argv)
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=engine.environment,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return Completed(done.returncode, done.stdout, done.stderr)


def command_for(container: str, ids: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` in a container, with this process's standard streams."""
    return [sys.executable, "-I", "-S", str(Path(enter.__file__)), ids, container, *argv]


def _by_api(api: Any, container: str, ids: str, argv: Sequence[str], stdin: str, timeout_s: float) -> Completed:
    from docker.errors import APIError, DockerException
    from requests import RequestException

    source, command = enter.tied(argv)
    sent = source + enter.framed(stdin.encode())
    try:
        created = api.exec_create(container, command, stdin=True, user=ids, workdir="/")["Id"]
        stream = api.exec_start(created, socket=True)
    except APIError as error:
        return Completed(CANNOT_START, "", f"{error.explanation or error}\n")
    except (DockerException, RequestException) as error:
        raise LabError(f"the engine does not answer: {last_line(str(error))}") from error
    said = _said(stream, sent, timeout_s)
    try:
        code = _exit_code(api, created)
    except (DockerException, RequestException) as error:
        raise LabError(f"{container} or its engine went away while {argv[0]} ran: {last_line(str(error))}") from error
    if code in NO_PROGRAM and not any(said.values()):  # what the engine said of it the SDK has thrown away
        return Completed(code, "", f"the engine could not run {PYTHON} in {container}\n")
    return Completed(code, _text(said[1]), _text(said[2]))


def _said(stream: Any, sent: bytes, timeout_s: float) -> dict[int, bytes]:
    """Send and hear to the end; whatever happens, the connection is closed then, and the command over."""
    link: socket.socket = stream._sock  # the SDK gives a file that cannot be written to
    try:
        sender = threading.Thread(target=_send, args=(link, sent), daemon=True)
        sender.start()
        try:
            return _heard(stream, link, timeout_s)
        finally:
            _shut(link)  # ends the command if it still runs, and the sending if it ended without reading
            sender.join()
    finally:
        link.close()
        stream.close()


def _exit_code(api: Any, created: str) -> int:
    """Return how the command ended; the engine may need a moment between its last word and knowing that.

    Raises:
        LabError: it does not know.
    """
    deadline = time.monotonic() + KNOWS_S
    while (state := api.exec_inspect(created))["Running"]:
        if time.monotonic() > deadline:
            raise LabError("the engine says that a command runs which has said its last")
        time.sleep(POLL_S)
    return int(state["ExitCode"])


def _send(link: socket.socket, data: bytes) -> None:
    """Send, beside the reading: a command may say much before it reads anything. The way stays open behind it."""
    with contextlib.suppress(OSError):  # the command has ended and reads no more
        link.sendall(data)


def _heard(stream: Any, link: socket.socket, timeout_s: float) -> dict[int, bytes]:
    """Return what came on standard output (1) and error (2) until both ended.

    Raises:
        TimeoutError: they did not in time; the connection is shut, which ends the command.
    """
    from docker.utils.socket import frames_iter

    is_over = threading.Event()

    def give_up() -> None:
        is_over.set()
        _shut(link)

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    try:
        for number, part in frames_iter(stream, tty=False):
            parts[number].append(part)
    except ConnectionResetError:  # the end of a command that did not read all that was sent
        pass
    finally:
        timer.cancel()
    if is_over.is_set():
        raise TimeoutError
    return {number: b"".join(found) for number, found in parts.items()}


def _shut(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)


def _text(data: bytes) -> str:
    """Return text as a program's pipe gives it: with every end of line as one character."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
