"""The words that filters and their driver share: requests, responses, and the commands in between.

A filter awaits a command; the command travels down to whoever drives the coroutine; what the driver sends back is the
value of the `await`. That is all: no task, no future, no event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.response import ResponseHead
from mesh.proxy.policy.flags import Failure, Flag, LocalReply
from mesh.proxy.policy.outlier import Verdict
from mesh.proxy.policy.retry import RetryState
from mesh.proxy.policy.runtime import Runtimes
from mesh.proxy.tables.model import Cluster, Endpoint, HttpChain, ProxyTables, RequestView

if TYPE_CHECKING:
    from mesh.telemetry.trace import TraceContext


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What is known of the connection a request came in on; the same for all its requests.

    Args:
        peer: the proven SPIFFE ID at the other end, None without TLS (the application on this host).
        peer_service: its service name, empty where there is none.
        identity_suffix: the encoded x-forwarded-client-cert line that says who it is, empty without TLS.
        local_id: our own SPIFFE ID, None before the first secret came.
        remote_address: `address:port` of the other end.
        original_destination: `address:port` that it dialled, before iptables.
    """

    peer: str | None = None
    peer_service: str = ""
    identity_suffix: bytes = b""
    local_id: str | None = None
    remote_address: str = ""
    original_destination: str = ""


@dataclass(slots=True)
class Surroundings:
    """What all requests of one proxy share.

    Args:
        node: the xDS node id, `<host>/<service>`.
        service: the service beside this proxy.
        runtimes: living state per cluster.
        rng: where jitter, trace ids and request ids come from.
        note: takes a request that has ended; must not block.
        ejection: takes what outlier detection said of an endpoint (cluster name, verdict).
    """

    node: str
    service: str
    runtimes: Runtimes
    rng: Random
    note: Callable[[Request, Ending], None]
    ejection: Callable[[str, Verdict], None]


@dataclass(slots=True)  # not frozen: made for each request
class Attempt:
    """One try, for the access log, read-only by agreement. `outcome` is a status or the name of a failure."""

    number: int
    host: str
    address: str
    outcome: str
    wait_s: float  # the back-off before it


@dataclass(slots=True)
class Ending:
    """How a request ended; made once, when the last byte has passed or somebody went away.

    Args:
        status: what the caller saw; 0 when it saw nothing.
        flags: response flags, in the order they arose.
        details: Envoy's response_code_details.
    """

    status: int
    flags: tuple[Flag, ...]
    details: str
    bytes_received: int = 0
    bytes_sent: int = 0
    duration_s: float = 0.0


class Request:
    """One request on its way through the filters, and what they find out about it.

    Given by the driver: head, view, chain, tables, facts, around, now. `now` is monotonic seconds; the driver sets it
    before each step. `is_replayable` answers whether the whole body so far is still at hand, for another try.
    `unproven` says why the peer is no longer believed (its certificate expired since the handshake, a root was
    removed); empty while it is.
    """

    __slots__ = (
        "around",
        "at_end",
        "attempts",
        "chain",
        "cluster",
        "endpoint",
        "facts",
        "head",
        "is_replayable",
        "now",
        "remove",
        "request_id",
        "retry",
        "route",
        "rule",
        "started_at",
        "suffix",
        "tables",
        "trace",
        "unproven",
        "upstream_peer",
        "view",
    )

    def __init__(
        self,
        head: RequestHead,
        chain: HttpChain,
        tables: ProxyTables,
        facts: ConnectionFacts,
        around: Surroundings,
        *,
        now: float,
        is_replayable: Callable[[], bool],
        unproven: str = "",
    ) -> None:
        self.head = head
        self.chain = chain
        self.tables = tables
        self.facts = facts
        self.around = around
        self.now = self.started_at = now
        self.is_replayable = is_replayable
        self.unproven = unproven
        self.view = RequestView(head.method, head.path, str(head.authority), head.by_name, facts.peer, head.query or "")
        self.remove: frozenset[str] = frozenset()  # lower-case names that are not passed on
        self.suffix = b""  # encoded field lines that are, after all others
        self.at_end: list[Callable[[Ending], None]] = []  # called once each, in order
        self.attempts: list[Attempt] = []
        self.rule = ""  # the authorization rule that decided
        self.route = ""
        self.cluster = ""
        self.endpoint: Endpoint | None = None
        self.upstream_peer = ""
        self.request_id = ""
        self.trace: TraceContext | None = None
        self.retry: RetryState | None = None

    def end(self, ending: Ending) -> None:
        """Tell everyone who asked that it is over. A second call does nothing."""
        at_end, self.at_end = self.at_end, []
        for call in at_end:
            call(ending)


class Stream(Protocol):
    """The rest of an answer that is still arriving; the driver knows how to get it."""

    def discard(self) -> None:
        """Want no more of it."""
        ...


@dataclass(slots=True)
class Answer:
    """An upstream's response head, with the body as far as it came with it."""

    head: ResponseHead
    body: bytes
    stream: Stream | None  # None: the body is complete
    peer: str = ""  # the SPIFFE ID that the upstream proved

    def discard(self) -> None:
        """Drop it: another try follows."""
        if self.stream is not None:
            self.stream.discard()


@dataclass(frozen=True, slots=True)
class Failed:
    """No response head came. `reason` is what the socket or the TLS handshake said."""

    failure: Failure
    reason: str = ""


class Send:
    """Command: send this head, and the request's body, to an endpoint; the value is an Answer or a Failed.

    Args:
        cluster: how to connect (TLS, source address, connect timeout).
        endpoint: to whom.
        head: serialised, for this try.
        deadline: monotonic seconds; `inf` for none. Passed without an answer: PER_TRY_TIMEOUT or TIMEOUT.
        retry: tells which of the two it was.
    """

    __slots__ = ("cluster", "deadline", "endpoint", "head", "retry")

    def __init__(self, cluster: Cluster, endpoint: Endpoint, head: bytes, deadline: float, retry: RetryState) -> None:
        self.cluster = cluster
        self.endpoint = endpoint
        self.head = head
        self.deadline = deadline
        self.retry = retry

    def __await__(self) -> Generator[Send, Answer | Failed, Answer | Failed]:
        return (yield self)


class Sleep:
    """Command: go on after so many seconds."""

    __slots__ = ("delay_s",)

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def __await__(self) -> Generator[Sleep, None, None]:
        yield self


Command = Send | Sleep


@dataclass(slots=True)
class Response:
    """What goes back to the caller: an upstream's answer, or a body of our own.

    Args:
        answer: None for a local reply.
        status: what the caller sees.
        body: of a local reply.
        add: fields to add to the head.
        remove: lower-case names of the answer's fields to leave out.
        keep: lower-case names that only the mesh may write and that this answer may carry all the same.
    """

    status: int
    answer: Answer | None = None
    body: bytes = b""
    add: list[tuple[str, str]] = field(default_factory=list)
    remove: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()
    flags: tuple[Flag, ...] = ()
    details: str = "via_upstream"


def local_response(reply: LocalReply, chain: HttpChain, *, flags: tuple[Flag, ...] = ()) -> Response:
    """Make a response of our own; the chain may add fields to it by flag (Envoy's local_reply_config)."""
    flags = flags or (reply.flag,)
    add = list(reply.headers)
    for flag in flags:
        add += chain.local_reply_headers.get(str(flag), ())
    return Response(reply.status, body=reply.body, add=add, flags=flags, details=reply.details)


# What is left of the stack below a filter.
Handler = Callable[[Request], Coroutine[Command, Any, Response]]


class Filter(Protocol):
    """Looks at a request; answers it, or has `call_next` answer."""

    def __call__(self, request: Request, call_next: Handler) -> Coroutine[Command, Any, Response]: ...
