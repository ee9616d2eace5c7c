"""A kernel's rule tables as values: applies iptables-restore text, and lets a packet walk through rules.

Only what the mesh's own rules use is understood; anything else raises, so that a rule nobody thought of cannot
pass for tested.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from mesh.redirect.model import Rule
from mesh.redirect.saved import Saved, SavedRule, SavedTable, meaning

KERNEL_CHAINS = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


class FakeRefusal(Exception):
    """iptables-restore would have refused this."""


@dataclass
class FakeTables:
    """One family's tables; `restore` is `iptables-restore --noflush`, each COMMIT atomic."""

    chains: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {table: {chain: [] for chain in names} for table, names in KERNEL_CHAINS.items()}
    )
    commits: list[str] = field(default_factory=list)

    def saved(self) -> Saved:
        """Return what iptables-save would print, parsed."""
        return Saved(
            {
                table: SavedTable(
                    tuple(chains), tuple(SavedRule(chain, text) for chain, texts in chains.items() for text in texts)
                )
                for table, chains in self.chains.items()
            }
        )

    def restore(self, text: str, *, dies_after: int | None = None) -> None:
        """Apply `text`; `dies_after` commits, stop as a killed process would."""
        table, pending = "", {}
        commits = 0
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:]
                pending = {chain: list(texts) for chain, texts in self.chains[table].items()}
            elif line == "COMMIT":
                if commits == dies_after:
                    return
                self.chains[table] = pending
                self.commits.append(table)
                commits += 1
            else:
                _apply(pending, line)


def _apply(chains: dict[str, list[str]], line: str) -> None:
    if line.startswith(":"):
        chains[line[1:].split()[0]] = []
        return
    operation, chain, *rest = line.split(" ", 2)
    specification = rest[0] if rest else ""
    if chain not in chains:
        raise FakeRefusal(f"no chain {chain}: {line}")
    if operation == "-A":
        chains[chain].append(specification)
    elif operation == "-I":
        chains[chain].insert(0, specification.removeprefix("1 "))
    elif operation == "-D":
        place = [meaning(each) for each in chains[chain]].index(meaning(specification))
        del chains[chain][place]
    elif operation == "-F":
        chains[chain] = []
    elif operation == "-X":
        if chains[chain] or any(_target(text) == chain for texts in chains.values() for text in texts):
            raise FakeRefusal(f"chain {chain} is in use")
        del chains[chain]
    else:
        raise FakeRefusal(line)


def _target(text: str) -> str:
    words = shlex.split(text)
    return words[words.index("-j") + 1]


@dataclass(frozen=True)
class Packet:
    """The first packet of a flow, as the rules see it."""

    protocol: str = "tcp"
    source: str = "10.77.1.13"
    destination: str = "240.0.0.1"
    port: int = 8080
    source_port: int = 40000
    uid: int | None = None
    interface: str = "eth0"
    states: frozenset[str] = frozenset({"NEW"})
    flags: frozenset[str] = frozenset({"SYN"})
    dialled_port: int | None = None  # before translation; None: the same

    @property
    def is_turned(self) -> bool:
        """Say whether table nat changed the destination."""
        return "DNAT" in self.states


def leave(rules: tuple[Rule, ...], packet: Packet) -> str:
    """Send a packet from this host: `port N` where it was allowed to arrive, or `refused`."""
    turned = _translate(rules, "OUTPUT", packet, to="127.0.0.1")
    return _verdict(rules, "OUTPUT", turned, way="out")


def arrive(rules: tuple[Rule, ...], packet: Packet) -> str:
    """Let a packet come in from outside: `port N` or `refused`."""
    if _walk(rules, "mangle", "PREROUTING", packet, "in") == "DROP":
        return "refused"
    turned = _translate(rules, "PREROUTING", packet, to=packet.destination)
    return _verdict(rules, "INPUT", turned, way="in")


def _translate(rules: tuple[Rule, ...], chain: str, packet: Packet, *, to: str) -> Packet:
    target = _walk(rules, "nat", chain, packet, "out" if chain == "OUTPUT" else "in")
    if not target.startswith("REDIRECT"):
        return packet
    port = int(target.rsplit(" ", 1)[1])
    is_changed = (to, port) != (packet.destination, packet.port)
    states = packet.states | ({"DNAT"} if is_changed else frozenset())
    return replace(packet, destination=to, port=port, states=states, dialled_port=packet.port)


def _verdict(rules: tuple[Rule, ...], chain: str, packet: Packet, *, way: str) -> str:
    target = _walk(rules, "filter", chain, packet, way)
    return "refused" if target.startswith(("REJECT", "DROP")) else f"port {packet.port}"


def _walk(rules: tuple[Rule, ...], table: str, chain: str, packet: Packet, way: str) -> str:
    """Return the target that ends the walk; RETURN and the end of a chain go back to the caller."""
    for rule in rules:
        if rule.table != table or rule.chain != chain or not _matches(rule.match, packet, way):
            continue
        if rule.target == "RETURN":
            return ""
        if not rule.target.startswith("MESHYARD_"):
            return rule.target
        if verdict := _walk(rules, table, rule.target, packet, way):
            return verdict
    return ""


def _matches(match: str, packet: Packet, way: str) -> bool:
    words = shlex.split(match)
    is_negated = False
    while words:
        word = words.pop(0)
        if word == "!":
            is_negated = True
            continue
        value = "" if word == "--socket-exists" else words.pop(0)
        if word == "--tcp-flags":
            value += " " + words.pop(0)
        if _holds(word, value, packet, way) == is_negated:
            return False
        is_negated = False
    return True


def _holds(option: str, value: str, packet: Packet, way: str) -> bool:
    if option == "-m":
        return True
    if option == "-p":
        return packet.protocol == value
    if option in ("-o", "-i"):
        return packet.interface == value and option == ("-o" if way == "out" else "-i")
    if option in ("-s", "-d"):
        return ip_address(packet.source if option == "-s" else packet.destination) in ip_network(value)
    if option == "--uid-owner":
        first, _, last = value.partition("-")
        return packet.uid is not None and int(first) <= packet.uid <= int(last or first)
    if option == "--tcp-flags":
        examined, wanted = (set(each.split(",")) for each in value.split(" "))
        return packet.flags & examined == wanted
    if option == "--socket-exists":
        return packet.uid is not None
    if option == "--dport":
        return packet.port == int(value)
    if option == "--sport":
        return packet.source_port == int(value)
    if option == "--ctstate":
        return bool(packet.states & set(value.split(",")))
    if option == "--ctorigdstport":
        return (packet.dialled_port or packet.port) == int(value)
    if option in ("--icmp-type", "--icmpv6-type"):
        return packet.port == int(value)
    raise FakeRefusal(f"the fake does not know {option}")
