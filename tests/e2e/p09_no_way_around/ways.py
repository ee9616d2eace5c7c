"""Every way around the mesh that we know, as a row: who tries what, what comes of it, and what without a guard.

docs/explanation/no-way-around.md names each row of this table in its column "tried by"; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

PAYMENT, LEDGER, STRANGER, CONTROL_PLANE = "10.77.1.12", "10.77.1.14", "10.77.1.66", "10.77.1.2"
PAYMENT6, LEDGER6, STRANGER6 = "fd77::10:77:1:12", "fd77::10:77:1:14", "fd77::10:77:1:66"
UNREGISTERED = 9090  # a process of the application's user listens here on each host; no service is registered for it

# Guards, by the host and the direction in which its rules are taken away to see that the attempt is a real one.
LEAVING = (("payment-1", "OUTPUT"),)
ARRIVING = (("ledger-1", "INPUT"),)
BOTH = LEAVING + ARRIVING
LOCAL = LEAVING
SILENT = {"open": LEAVING, "then": "silence"}  # it leaves, and nobody is there to answer


@dataclass(frozen=True, slots=True)
class Way:
    """One attempt.

    Args:
        name: a sentence; the row's id, and what the page cites.
        host, user: where it starts from.
        kind: tcp or udp.
        to, port: what is dialled; the attempt sends one HTTP request or datagram and waits for an answer.
        gets: what comes of it: `refused`, or `closed` without a byte.
        source: the address to send from.
        open: the guards to take away; empty where a second guard stands behind and no single one can be taken.
        then: what comes of it without them; `answer` means that somebody was reached.
    """

    name: str
    host: str
    user: str
    kind: str
    to: str
    port: int
    gets: str
    source: str = ""
    open: tuple[tuple[str, str], ...] = ()
    then: str = "answer"


def _app(name: str, kind: str, to: str, port: int, gets: str, **more: object) -> Way:
    return Way(name, "payment-1", "app", kind, to, port, gets, **more)  # type: ignore[arg-type]


def _other(name: str, kind: str, to: str, port: int, gets: str = "refused", **more: object) -> Way:
    return Way(name, "payment-1", "other", kind, to, port, gets, **more)  # type: ignore[arg-type]


def _stranger(name: str, kind: str, to: str, port: int, gets: str, **more: object) -> Way:
    return Way(name, "stranger-1", "other", kind, to, port, gets, **more)  # type: ignore[arg-type]


FROM_THE_APPLICATION = (
    _app("a host's own address", "tcp", LEDGER, 8080, "closed", open=BOTH),
    _app("a port that no service has", "tcp", LEDGER, UNREGISTERED, "closed", open=BOTH),
    _app("a far inbound port", "tcp", LEDGER, 15006, "closed"),
    _app("a far outbound port", "tcp", LEDGER, 15001, "closed"),
    _app("a host outside the mesh", "tcp", STRANGER, UNREGISTERED, "closed", open=LEAVING),
    _app("IPv6 to a mesh host", "tcp", LEDGER6, UNREGISTERED, "refused", open=BOTH),
    _app("IPv6 to a host outside", "tcp", STRANGER6, UNREGISTERED, "refused", open=LEAVING),
    _app("UDP over IPv6", "udp", STRANGER6, UNREGISTERED, "refused", open=LEAVING),
    _app("UDP to a mesh host", "udp", LEDGER, UNREGISTERED, "refused", open=BOTH),
    _app("UDP to a virtual address", "udp", "ledger-service", 8080, "refused", **SILENT),
    _app("QUIC to a host outside", "udp", STRANGER, UNREGISTERED, "refused", open=LEAVING),
    # From the lab's address, which chooses the network: a machine may have no default route.
    _app("UDP to everybody at once", "udp", "224.0.0.1", UNREGISTERED, "refused", source=PAYMENT, **SILENT),
    _app("another resolver, UDP", "udp", STRANGER, 53, "refused", open=LEAVING),
    _app("another resolver, TCP", "tcp", STRANGER, 53, "closed", open=LEAVING),
    _app("15001 by hand", "tcp", "127.0.0.1", 15001, "refused", open=LOCAL, then="closed"),
    _app("15006 by hand", "tcp", "127.0.0.1", 15006, "refused", open=LOCAL, then="closed"),
    _app("15006 by hand and the host's address", "tcp", PAYMENT, 15006, "refused", open=LOCAL, then="closed"),
    _app("the control plane's HTTP port", "tcp", CONTROL_PLANE, 8500, "closed", open=LEAVING),
    _app("the control plane's gRPC port", "tcp", CONTROL_PLANE, 8502, "closed"),
    _app("the control plane's join port", "tcp", CONTROL_PLANE, 8503, "closed"),
    _app("the admin port", "tcp", "127.0.0.1", 15000, "refused", open=LOCAL),
    _app("the admin port as 0.0.0.0", "tcp", "0.0.0.0", 15000, "refused", open=LOCAL),
    _app("the admin port in IPv6 clothes", "tcp", "::ffff:127.0.0.1", 15000, "refused", open=LOCAL),
)

FROM_ANOTHER_USER = (
    _other("another user dials a service", "tcp", "ledger-service", 8080),
    _other("another user dials a host", "tcp", LEDGER, 8080, open=BOTH),
    _other("another user dials out", "tcp", STRANGER, UNREGISTERED, open=LEAVING),
    _other("another user sends UDP", "udp", STRANGER, UNREGISTERED, open=LEAVING),
    _other("another user dials the control plane", "tcp", CONTROL_PLANE, 8500, open=LEAVING),
    _other("another user dials 15001", "tcp", "127.0.0.1", 15001, open=LOCAL, then="closed"),
    _other("another user over loopback", "tcp", "127.0.0.1", 8080, source="127.0.0.9", open=LOCAL),
    _other("another user over IPv6 loopback", "tcp", "::1", 8080, open=LOCAL),
    _other("another user by the host's address", "tcp", PAYMENT, 8080, open=LOCAL),
    _other("another user as 127.0.0.6", "tcp", "127.0.0.1", 8080, source="127.0.0.6", open=LOCAL),
)

FROM_ANOTHER_HOST = (
    _stranger("plain text from outside", "tcp", LEDGER, 8080, "closed", open=ARRIVING),
    _stranger("an unregistered port from outside", "tcp", LEDGER, UNREGISTERED, "closed", open=ARRIVING),
    _stranger("the probe's port from outside", "tcp", LEDGER, 15002, "closed", open=ARRIVING, then="refused"),
    _stranger("a relay", "tcp", LEDGER, 15001, "refused", open=ARRIVING, then="closed"),
    _stranger("15006 from outside", "tcp", LEDGER, 15006, "refused", open=ARRIVING, then="closed"),
    _stranger("the admin port from outside", "tcp", LEDGER, 15000, "refused"),
    _stranger("the agent's names from outside", "udp", LEDGER, 15053, "refused"),
    _stranger("UDP from outside", "udp", LEDGER, UNREGISTERED, "refused", open=ARRIVING),
    _stranger("IPv6 from outside", "tcp", LEDGER6, UNREGISTERED, "refused", open=ARRIVING),
    _stranger("UDP over IPv6 from outside", "udp", LEDGER6, UNREGISTERED, "refused", open=ARRIVING),
)

WAYS = FROM_THE_APPLICATION + FROM_ANOTHER_USER + FROM_ANOTHER_HOST
