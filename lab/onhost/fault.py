"""Make one fault on this host, hold it, and end it. Needs root, iptables and Python's standard library alone.

The kernel asks this process about the packets of a fault (NFQUEUE), and asks nobody when it is gone: `--queue-bypass`
lets them pass. So the end of this process, even by kill -9, is the end of the fault; what rules remain then do nothing,
and the next start takes them away. It ends when its time is over, when it is told to, or when its standard input
closes: whoever holds the other end is its lifeline.

Rules lie in chains of their own. What arrives is caught in `raw`, where the mesh has no rules, what leaves in
`mangle POSTROUTING`, on the interface with the host's lab address alone: loopback and a way in that is not the lab's
are left in peace. A packet that this process drops is lost silently; a DROP rule on the way out would tell the sender.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

IN_FORCE = "in force"
QUEUES = {"cut": 7701, "loss": 7702, "delay": 7703, "refuse": 7704, "reset": 7705}
MARKS = {"refuse": 0x4D590001, "reset": 0x4D590002}  # "MY": filter refuses what this process marked
APP_PORT, DELIVERY = 8080, "127.0.0.6"  # where the application listens, and from where its sidecar calls it
# As many packets wait in the kernel at most, the next are lost: 100 ms of 40,000 packets a second. tc netem has 1000.
MAX_WAITING = 4096
RECEIVE_BYTES = 4 * 1024 * 1024
TOOL_TIMEOUT_S = 20.0

# linux/netfilter/nfnetlink_queue.h and linux/netfilter.h
NETLINK_NETFILTER = 12
SUBSYSTEM_QUEUE = 3 << 8
PACKET, VERDICT, CONFIG = SUBSYSTEM_QUEUE | 0, SUBSYSTEM_QUEUE | 1, SUBSYSTEM_QUEUE | 2
PACKET_HEADER, VERDICT_HEADER, MARK = 1, 2, 3
CONFIG_COMMAND, CONFIG_COPY, CONFIG_MAX_LEN, CONFIG_MASK, CONFIG_FLAGS = 1, 2, 3, 4, 5
BIND, COPY_META, FLAG_GSO = 1, 1, 4
DROP, ACCEPT = 0, 1
NLM_REQUEST, NLM_ACK, NLMSG_ERROR = 1, 4, 2
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SIOCGIFADDR = 0x8915


class Refused(Exception):
    """The fault cannot be made here; the text says why."""


class Taken(Exception):
    """Another process has the queue."""


class Hook(NamedTuple):
    """One jump from a chain of the kernel to a chain of ours with one rule."""

    table: str
    parent: str
    is_first: bool
    rule: str


# ------------------------------------------------------------------------------------------------------- what to do


def hooks_of(order: Mapping[str, Any], interface: str) -> list[Hook]:
    """Return where a fault takes hold: a fault's table, chain and rule. Pure.

    A packet that the queue lets pass skips the rest of its chain, so what loses packets comes before what delays them.
    """
    fault = order["fault"]
    queue = f"-j NFQUEUE --queue-num {QUEUES[fault]} --queue-bypass"
    into, out = f"-i {interface}", f"-o {interface}"
    if fault in ("cut", "loss"):
        share = f"-m statistic --mode random --probability {order['percent'] / 100:.6f} " if fault == "loss" else ""
        return [
            Hook("raw", "PREROUTING", True, f"{into} {share}{queue}"),
            Hook("mangle", "POSTROUTING", True, f"{out} {share}{queue}"),
        ]
    if fault == "delay":
        # On the way in: what waits on the way out still counts as unsent, and TCP would send next to nothing.
        return [Hook("raw", "PREROUTING", False, f"{into} {queue}")]
    flags = "--tcp-flags PSH PSH" if fault == "reset" else "--syn"
    delivery = f"-o lo -s {DELIVERY} -p tcp --dport {APP_PORT} {flags}"
    refuse = f"-p tcp -m mark --mark {MARKS[fault]:#x} -j REJECT --reject-with tcp-reset"
    return [Hook("mangle", "OUTPUT", False, f"{delivery} {queue}"), Hook("filter", "OUTPUT", True, refuse)]


def restore_text(chain: str, hooks: list[Hook]) -> str:
    """Return what iptables-restore puts in force at once."""
    parts = []
    for hook in hooks:
        jump = f"-I {hook.parent} 1" if hook.is_first else f"-A {hook.parent}"
        parts += [f"*{hook.table}", f":{chain} - [0:0]", f"-A {chain} {hook.rule}", f"{jump} -j {chain}", "COMMIT"]
    return "\n".join(parts) + "\n"


def chain_of(fault: str) -> str:
    """Return the name of a fault's own chain."""
    return f"LAB_FAULT_{fault.upper()}"


def families(fault: str) -> list[str]:
    """Return the tools to call: IPv6 as well where the host has it and the fault is not one of 127.0.0.6."""
    has_ipv6 = os.path.exists("/proc/net/if_inet6")
    return ["iptables", "ip6tables"] if has_ipv6 and fault not in MARKS else ["iptables"]


# ------------------------------------------------------------------------------------------------------- the queue


def message(kind: int, queue: int, attributes: bytes, flags: int = NLM_REQUEST) -> bytes:
    """Return one netlink message to a queue."""
    body = struct.pack("!BBH", 0, 0, queue) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def verdict(queue: int, packet_id: int, what: int, mark: int = 0) -> bytes:
    """Return the message that decides about a packet."""
    marked = attribute(MARK, struct.pack("!I", mark)) if mark else b""
    return message(VERDICT, queue, attribute(VERDICT_HEADER, struct.pack("!II", what, packet_id)) + marked)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and payload of each netlink message in a datagram."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def packet_id_of(payload: bytes) -> int:
    """Return the id of the packet that a PACKET message speaks of, -1 when it has none."""
    at = 4
    while at + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, at)
        if kind & 0x3FFF == PACKET_HEADER:
            return int(struct.unpack_from("!I", payload, at + 4)[0])
        at += max(4, (length + 3) & ~3)
    return -1


class Queue:
    """The kernel's questions about packets. Only their headers' ids come here, the packets stay in the kernel."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        try:
            self._configure(attribute(CONFIG_COMMAND, struct.pack("!BBH", BIND, 0, socket.AF_INET)))
        except PermissionError as error:
            raise Taken from error
        self._configure(
            attribute(CONFIG_COPY, struct.pack("!IB", 0, COPY_META))
            + attribute(CONFIG_MAX_LEN, struct.pack("!I", MAX_WAITING))
            + attribute(CONFIG_MASK, struct.pack("!I", FLAG_GSO))
            + attribute(CONFIG_FLAGS, struct.pack("!I", FLAG_GSO))  # big packets come whole, not in slices
        )
        self.socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)  # what is too much is lost, as on any wire
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BYTES)
        except PermissionError:  # root of a user namespace has what everybody has
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.socket.setblocking(False)

    def _configure(self, attributes: bytes) -> None:
        self.socket.settimeout(5.0)
        self.socket.send(message(CONFIG, self.number, attributes, NLM_REQUEST | NLM_ACK))
        for kind, payload in messages(self.socket.recv(65536)):
            code = -struct.unpack_from("=i", payload)[0] if kind == NLMSG_ERROR else 0
            if code:
                raise OSError(code, os.strerror(code))

    def read(self) -> list[int]:
        """Return the ids of packets that wait for a verdict."""
        found: list[int] = []
        try:
            while len(found) < MAX_WAITING:
                data = self.socket.recv(65536)
                found += [packet_id_of(payload) for kind, payload in messages(data) if kind == PACKET]
        except BlockingIOError:
            pass
        return [packet_id for packet_id in found if packet_id >= 0]

    def decide(self, ids: list[int], what: int, mark: int = 0) -> None:
        """Send verdicts, many to a datagram."""
        for start in range(0, len(ids), 256):
            self.socket.send(b"".join(verdict(self.number, one, what, mark) for one in ids[start : start + 256]))


# ------------------------------------------------------------------------------------------------------- the host


def interface_of(address: str) -> str:
    """Return the interface that has the host's lab address.

    Raises:
        Refused: none has it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    raise Refused(f"no interface of this host has the lab address {address}")


def tool(*argv: str, text: str = "") -> str:
    """Run one of iptables' programs; return what it complained about, empty when it worked."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip() or f"{argv[0]} failed without a word") if done.returncode else ""


def put_in_force(fault: str, hooks: list[Hook]) -> None:
    """Install the rules of a fault.

    Raises:
        Refused: the kernel or its tools would not; nothing is left of it.
    """
    for family in families(fault):
        trouble = tool(f"{family}-restore", "-w", "--noflush", text=restore_text(chain_of(fault), hooks))
        if trouble:
            take_away(fault, hooks)
            raise Refused(f"{family} refused the rules of {fault}: {trouble.splitlines()[0]}")


def take_away(fault: str, hooks: list[Hook]) -> None:
    """Remove the rules of a fault, if there are any; the jump first, so that nothing meets half of them."""
    chain = chain_of(fault)
    for family in families(fault):
        for hook in hooks:
            base = [family, "-w", "-t", hook.table]
            while not tool(*base, "-D", hook.parent, "-j", chain):
                pass
            if not tool(*base, "-F", chain):
                tool(*base, "-X", chain)


# ------------------------------------------------------------------------------------------------------- one fault


class Waiting:
    """The packets of a delay, by the time at which each goes on. Never more than the kernel lets wait."""

    def __init__(self, by_s: float, jitter_s: float, chance: random.Random) -> None:
        self.by_s = by_s
        self.jitter_s = jitter_s
        self.chance = chance
        self.heap: list[tuple[float, int]] = []

    def add(self, ids: list[int], *, now: float) -> None:
        """Let packets wait, evenly between by - jitter and by + jitter."""
        for packet_id in ids:
            wait_s = self.by_s + (self.chance.uniform(-self.jitter_s, self.jitter_s) if self.jitter_s else 0.0)
            heapq.heappush(self.heap, (now + wait_s, packet_id))

    def due(self, *, now: float) -> list[int]:
        """Return and forget the packets whose time has come."""
        ids = []
        while self.heap and self.heap[0][0] <= now:
            ids.append(heapq.heappop(self.heap)[1])
        return ids

    def next_s(self, *, now: float) -> float | None:
        """Return the seconds until the next packet goes on, None when none waits."""
        return max(0.0, self.heap[0][0] - now) if self.heap else None


def hold(order: Mapping[str, Any], queue: Queue, *, lifeline: int, told: int, deadline: float) -> None:
    """Answer the kernel's questions until the time is over, the lifeline closes, or a signal came."""
    fault = order["fault"]
    waiting = Waiting(order.get("by_s", 0.0), order.get("jitter_s", 0.0), random.Random())  # noqa: S311 - no secret
    while (left_s := deadline - time.monotonic()) > 0:
        next_s = waiting.next_s(now=time.monotonic())
        watched: list[Any] = [queue.socket, lifeline, told]
        ready, _, _ = select.select(watched, [], [], left_s if next_s is None else min(left_s, next_s))
        if told in ready or (lifeline in ready and not os.read(lifeline, 4096)):
            break
        ids = queue.read() if queue.socket in ready else []
        if fault == "delay":
            waiting.add(ids, now=time.monotonic())
            queue.decide(waiting.due(now=time.monotonic()), ACCEPT)
        else:
            queue.decide(ids, ACCEPT if fault in MARKS else DROP, MARKS.get(fault, 0))
    queue.decide(waiting.due(now=float("inf")), ACCEPT)


def signals() -> int:
    """Return a descriptor that can be read once somebody told this process to end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return read_end


def main(order: Mapping[str, Any]) -> None:
    """Make the fault of an order, and end it.

    Args:
        order: {"fault", "address", "duration_s"} and what the fault needs: by_s, jitter_s, percent.

    Raises:
        Refused: it cannot be made here.
    """
    fault, told = order["fault"], signals()
    hooks = hooks_of(order, interface_of(order["address"]))
    try:
        queue = Queue(QUEUES[fault])
    except Taken:
        raise Refused(f"this host has a {fault} already") from None
    except OSError as error:
        raise Refused(f"the kernel has no packet queue (modprobe nfnetlink_queue xt_NFQUEUE): {error}") from None
    take_away(fault, hooks)  # of one that was killed
    deadline = time.monotonic() + order["duration_s"]
    put_in_force(fault, hooks)
    try:
        print(IN_FORCE, flush=True)  # noqa: T201 - the one word that is waited for
        hold(order, queue, lifeline=0, told=told, deadline=deadline)
    finally:
        take_away(fault, hooks)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[-1]))
    except Refused as error:
        print(error, flush=True)  # noqa: T201 - whoever started this reads it
        sys.exit(1)
