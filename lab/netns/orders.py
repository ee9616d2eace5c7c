"""Orders on their way in: each connection has a moment to send its one line, and none holds the lab up.

The lab's init is one thread that also hears every host and collects every dead child; whoever opens its control
socket and says nothing, half a line or a line without end, costs it a descriptor for a few seconds and no more.
"""

from __future__ import annotations

import json
import selectors
import socket
from dataclasses import dataclass
from typing import Any

MAX_ORDER_BYTES = 4 * 1024 * 1024  # an `add-host` carries the files of a service: 1 MiB, escaped
MAX_ASKING = 32  # open at once; with more, the one that has waited longest goes
ORDER_WAIT_S = 5.0
ANSWER_WAIT_S = 5.0
CHUNK = 65536


@dataclass(slots=True, eq=False)
class Asking:
    """One connection and the part of its line that has arrived."""

    connection: socket.socket
    deadline: float
    buffer: bytes = b""

    def feed(self, received: bytes) -> bytes | None:
        """Take bytes in; return the line once it is whole.

        Raises:
            ValueError: no order is that long.
        """
        head, found, _ = received.partition(b"\n")
        self.buffer += head
        if len(self.buffer) > MAX_ORDER_BYTES:
            raise ValueError(f"an order has at most {MAX_ORDER_BYTES} bytes")
        return self.buffer if found else None


class Orders:
    """The control socket and everybody who is asking on it. `selector` also watches other things."""

    def __init__(self, listening: socket.socket, selector: selectors.BaseSelector) -> None:
        self._listening = listening
        self._selector = selector
        self._asking: list[Asking] = []  # the longest waiting first
        listening.setblocking(False)
        selector.register(listening, selectors.EVENT_READ, self)

    def accept(self, *, now: float) -> None:
        """Let one more ask."""
        if len(self._asking) >= MAX_ASKING:
            self.drop(self._asking[0])
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return  # whoever called is gone, or there is no descriptor for them just now
        connection.setblocking(False)
        asking = Asking(connection, now + ORDER_WAIT_S)
        self._asking.append(asking)
        self._selector.register(connection, selectors.EVENT_READ, asking)

    def read(self, asking: Asking) -> bytes | None:
        """Return the line of a connection that has something to read; None while it is not whole.

        The connection is then the caller's to answer and to close, and every wait on it is bounded.

        Raises:
            OSError: whoever asked is gone.
            ValueError: no order is that long.
        """
        received = asking.connection.recv(CHUNK)
        if not received:
            raise ConnectionError("the connection ended before the order did")
        line = asking.feed(received)
        if line is not None:
            self._forget(asking)
            asking.connection.settimeout(ANSWER_WAIT_S)
        return line

    def drop(self, asking: Asking) -> None:
        """Hang up on a connection; again is no harm."""
        self._forget(asking)
        asking.connection.close()

    def expire(self, *, now: float) -> None:
        """Hang up on those who had their moment."""
        for asking in [one for one in self._asking if one.deadline <= now]:
            self.drop(asking)

    def close(self) -> None:
        """In a fork: let go of the socket and of everybody who is asking; the init still has them."""
        for connection in (self._listening, *(one.connection for one in self._asking)):
            connection.close()

    def _forget(self, asking: Asking) -> None:
        if asking in self._asking:
            self._asking.remove(asking)
            self._selector.unregister(asking.connection)


def order_of(line: bytes) -> dict[str, Any]:
    """Read an order.

    Raises:
        ValueError: it is not a JSON object with an "op".
    """
    try:
        order = json.loads(line)
    except RecursionError:
        raise ValueError("an order is not nested that deep") from None
    if not isinstance(order, dict) or not isinstance(order.get("op"), str):
        raise ValueError('an order is a JSON object with an "op"')
    return order
