"""How long a caller may take, and for what. Only says so: time comes in, the connection acts on the answer.

between requests       the chain's idle timeout                   it is closed
a head                 the chain's headers timeout                408
a body                 BODY_WINDOW_BYTES in each BODY_WINDOW_S    408
anything to move       STREAM_IDLE_S                              504, or 408 while the body is not complete
the last answer        CLOSE_S                                    it is reset
"""

from __future__ import annotations

from enum import Enum, auto

from mesh.proxy.tables.model import HttpChain

CLOSE_S = 60.0  # how long a caller may take to read what was written before its connection is closed
STREAM_IDLE_S = 300.0  # a request on which nothing moves for this long ends, as with Envoy's stream_idle_timeout
BODY_WINDOW_S = 10.0  # a request body that we wait for brings BODY_WINDOW_BYTES within each such time, or is refused
BODY_WINDOW_BYTES = 64


class Standstill:
    """Since when a count has not changed.

    Args:
        now: monotonic seconds.
        count: what it is now.
    """

    __slots__ = ("_count", "_since")

    def __init__(self, now: float, count: int = 0) -> None:
        self.restart(now, count)

    def restart(self, now: float, count: int = 0) -> None:
        """Begin anew."""
        self._count, self._since = count, now

    def lasts_s(self, now: float, count: int) -> float:
        """Return for how many seconds the count has been the same."""
        if count != self._count:
            self.restart(now, count)
        return now - self._since


class CloseWait:
    """A caller that does not read what was written last would keep its connection for ever."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def is_over(self, now: float) -> bool:
        """Say whether the connection, closed but not yet gone, has had its time. The first call starts it."""
        if self._since is None:
            self._since = now
        return now - self._since > CLOSE_S


class Late(Enum):
    """What was waited for between two requests, and did not come."""

    REQUEST = auto()  # not a byte of it: that is no fault
    HEAD = auto()  # the rest of it


class CallerTimeouts:
    """The waits of one HTTP connection.

    Args:
        now: monotonic seconds.
    """

    __slots__ = ("_body_mark", "_is_reading_head", "_since", "_stream")

    def __init__(self, now: float) -> None:
        self._since = now  # when the present wait began
        self._is_reading_head = False
        self._body_mark = 0  # bytes of the body at the beginning of the window
        self._stream = Standstill(now)

    # ------------------------------------------------------------------------------- what happened

    def answered(self, now: float) -> None:
        """An answer is complete: the wait for the next request begins."""
        self._since = now

    def head_came_in_part(self, now: float) -> None:
        """Bytes of a head came, and not all of it. Its time begins with the first of them."""
        if not self._is_reading_head:
            self._is_reading_head = True
            self._since = now

    def request_began(self, now: float, body_bytes: int) -> None:
        """A head is complete; with it came so much of its body."""
        self._is_reading_head = False
        self._since, self._body_mark = now, body_bytes
        self._stream.restart(now, body_bytes)

    def body_was_asked_for(self, now: float) -> None:
        """Only now the caller can be late with it."""
        self._since = now

    # ------------------------------------------------------------------------------- what is too long

    def between_requests(self, now: float, chain: HttpChain) -> Late | None:
        """Say what is late while no request is under way."""
        waited_s = now - self._since
        if self._is_reading_head:
            return Late.HEAD if waited_s > chain.headers_timeout_s else None
        return Late.REQUEST if waited_s > chain.idle_timeout_s else None

    def is_stream_idle(self, now: float, moved_bytes: int) -> bool:
        """Say whether nothing of either body has moved for too long.

        A route without a timeout must not let somebody who neither reads nor sends keep both connections.
        """
        return self._stream.lasts_s(now, moved_bytes) > STREAM_IDLE_S

    def is_body_late(self, now: float, received_bytes: int, *, is_awaited: bool) -> bool:
        """Say whether the window is over and brought too little, though we were reading; open the next one if not."""
        if now - self._since <= BODY_WINDOW_S:
            return False
        if is_awaited and received_bytes - self._body_mark < BODY_WINDOW_BYTES:
            return True
        self._since, self._body_mark = now, received_bytes
        return False
