"""The control socket of a lab, from the asking side: JSON lines over a unix socket in the lab's folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.driver import LabError

ASK_TIMEOUT_S = 10.0


@contextlib.contextmanager
def short_path(path: str | Path) -> Iterator[str]:
    """Lend a name for a socket that fits into the 107 bytes of a unix address, however deep the checkout lies."""
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a listening unix socket that only its owner may open."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as address:
        server.bind(address)
    path.chmod(0o600)
    server.listen(64)
    return server


def connect(path: str | Path, timeout_s: float) -> socket.socket:
    """Return a connection to a lab's control socket.

    Raises:
        LabError: no lab answers there.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    try:
        with short_path(path) as address:
            client.connect(address)
    except OSError:
        client.close()
        name = Path(path).parent.name
        start = "make up" if name == "default" else f"lab --lab {name} up"
        raise LabError(f"the lab {name!r} is not up; start it with: {start}") from None
    return client


def stream(path: str | Path, order: dict[str, Any], *, timeout_s: float = ASK_TIMEOUT_S) -> Iterator[dict[str, Any]]:
    """Send an order and yield each line of the answer."""
    with connect(path, timeout_s) as client:
        try:
            client.sendall(json.dumps(order).encode() + b"\n")
            for line in client.makefile("rb"):
                yield json.loads(line)
        except TimeoutError:
            raise LabError(f"the lab did not answer within {timeout_s:g} s", exit_code=124) from None
        except ConnectionError:
            raise LabError("the lab ended while it was asked") from None


def ask(path: str | Path, order: dict[str, Any], *, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any]:
    """Send an order and return its one answer.

    Raises:
        LabError: nobody answers, or the answer is an error.
    """
    for answer in stream(path, order, timeout_s=timeout_s):
        if "error" in answer:
            raise LabError(str(answer["error"]), exit_code=int(answer.get("exit_code", 1)))
        if "progress" not in answer:
            return answer
    raise LabError("the lab closed the connection without an answer")
