"""The text of a file to checked values, or every fault in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from mesh.base.errors import ConfigError, ConfigErrors, Position
from mesh.config.consul import AGENT_KEYS, KINDS
from mesh.config.decode.defaults import decode_proxy_defaults, decode_service_defaults
from mesh.config.decode.intentions import decode_intentions
from mesh.config.decode.reader import Fields, plain
from mesh.config.decode.report import Report
from mesh.config.decode.router import decode_router
from mesh.config.decode.service import decode_service
from mesh.config.entries import KIND_OF, ConfigEntry, ServiceDefinition
from mesh.config.hcl.parse import parse_text
from mesh.config.hcl.tree import ListNode, Member, ObjectNode, Source, describe

DECODERS: dict[str, Callable[[Fields, Report], ConfigEntry]] = {
    "service-intentions": decode_intentions,
    "service-defaults": decode_service_defaults,
    "proxy-defaults": decode_proxy_defaults,
    "service-router": decode_router,
}
FILE_KEYS = ("Kind", "service", "services", "config_entries")
RIGHT_FILE = 'Kind = "service-defaults" and its keys, service { ... }, or config_entries { bootstrap = [...] }'


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds, in its order, and the source that errors found later can show lines of."""

    entries: tuple[ConfigEntry, ...]
    services: tuple[ServiceDefinition, ...]
    source: Source


def load_text(text: str, path: str, *, own_addresses: frozenset[str] = frozenset()) -> Loaded:
    """Read a file's text: config entries, service definitions, or both.

    The forms are Consul's: one entry with `Kind` at the top; `config_entries { bootstrap = [{ ... }] }`, or repeated
    `bootstrap { ... }`; `service { ... }` and `services = [...]`; and a JSON list of entries.

    Args:
        text: HCL 1 or JSON.
        path: what positions and errors call the file.
        own_addresses: addresses of the host that runs the checks of a service, beside the loopback.

    Raises:
        ConfigErrors: everything that is wrong, in the order of the file.
    """
    try:
        tree, source = parse_text(text, path)
    except ConfigError as error:
        raise ConfigErrors((error,)) from error
    report = Report(source)
    loaded = _File(report, own_addresses).load(tree)
    if report.errors:
        raise ConfigErrors(tuple(sorted(report.errors, key=_place)))
    return loaded


def _place(error: ConfigError) -> tuple[int, int]:
    at = error.at or Position("")
    return at.line, at.column


class _File:
    """The top level of one file."""

    def __init__(self, report: Report, own_addresses: frozenset[str]) -> None:
        self.report = report
        self.own_addresses = own_addresses
        self.entries: list[ConfigEntry] = []
        self.services: list[ServiceDefinition] = []

    def load(self, tree: object) -> Loaded:
        if isinstance(tree, ListNode):
            self.entry_list(tree)
        elif isinstance(tree, ObjectNode) and any(plain(member.key) == "kind" for member in tree.members):
            self.entry(tree)
        elif isinstance(tree, ObjectNode):
            self.top_level(tree)
        self.refuse_twice()
        return Loaded(tuple(self.entries), tuple(self.services), self.report.source)

    def entry_list(self, node: ListNode) -> None:
        for item in node.items:
            if isinstance(item, ObjectNode):
                self.entry(item)
            else:
                self.report.add(f"a list of entries holds {describe(item)}", item.at, "an object with Kind and Name")

    def top_level(self, tree: ObjectNode) -> None:
        fields = Fields(tree, "the file", self.report)
        for node in (*fields.blocks("service"), *fields.blocks("services")):
            self.services.append(decode_service(node, self.own_addresses, self.report))
        for node in fields.blocks("config_entries"):
            inside = Fields(node, "config_entries", self.report)
            for entry in inside.blocks("bootstrap"):
                self.entry(entry)
            inside.finish()
        for member in tree.members:
            self.refuse_unknown(member)
        if not tree.members:
            self.report.add("the file says nothing", tree.at, RIGHT_FILE)

    def refuse_unknown(self, member: Member) -> None:
        name = plain(member.key)
        if name in map(plain, FILE_KEYS):
            return
        if name in AGENT_KEYS:
            reason = f'"{member.key}" is a key of Consul\'s agent and not read by Meshyard'
            self.report.add(reason, member.at, RIGHT_FILE)
            return
        close = get_close_matches(name[:80], FILE_KEYS, 1, 0.6)
        hint = f"did you mean {close[0]}? " if close else ""
        self.report.add(f'unknown key "{member.key[:80]}" at the top of the file', member.at, hint + RIGHT_FILE)

    def entry(self, node: ObjectNode) -> None:
        """Read one config entry by its kind."""
        fields = Fields(node, "a config entry", self.report)
        kind = fields.required_text("Kind", '"service-intentions"')
        if kind in DECODERS:
            fields.what = kind
            self.entries.append(DECODERS[kind](fields, self.report))
        elif kind:
            self.refuse_kind(kind, fields.place("Kind"))

    def refuse_kind(self, kind: str, at: Position) -> None:
        right = "one of " + ", ".join(DECODERS)
        if kind in KINDS:
            self.report.add(f'Kind "{kind}" is known to Consul and not implemented by Meshyard', at, right)
            return
        close = get_close_matches(kind[:80], list(DECODERS), 1, 0.5)
        hint = f'did you mean "{close[0]}"? ' if close else ""
        self.report.add(f'Kind "{kind[:80]}" is not known', at, hint + right)

    def refuse_twice(self) -> None:
        """Refuse two entries of one kind and name, and two services of one name: one of them would be lost."""
        first: dict[tuple[str, str], Position] = {}
        named = [((KIND_OF[type(entry)], entry.name), entry.at) for entry in self.entries]
        named += [(("service", service.id or service.name), service.at) for service in self.services]
        for key, at in named:
            if key[1] and key in first:
                self.report.add(f'{key[0]} "{key[1]}" stands in line {first[key].line} already', at, "one of them")
            first.setdefault(key, at)
