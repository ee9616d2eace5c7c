"""Reading the fields of one block: each question names a key, and what was never asked for is an unknown key.

A decoder reads like the documentation of its block:

    fields = Fields(node, "the limits of an upstream", report)
    limits = Limits(max_connections=fields.integer("MaxConnections", least=0), ...)
    fields.finish()

A wrong value goes into the report and a stand-in of the right type comes back, so that reading goes on and finds the
next fault. Nobody sees the stand-ins: `load` raises when the report is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from mesh.base.durations import format_duration, parse_duration
from mesh.base.errors import ConfigError, Position
from mesh.base.names import WILDCARD, require_label
from mesh.config.decode.report import Report
from mesh.config.hcl.tree import ListNode, Member, Node, ObjectNode, Scalar, describe

MAX_TEXT = 4096
MAX_BLOCKS = 10_000  # of one kind in one place; decoders whose work grows faster ask for less
_Enum = TypeVar("_Enum", bound=StrEnum)


def plain(key: str) -> str:
    """Return the spelling all of Consul's spellings of a key share."""
    return key.replace("_", "").lower()


class Fields:
    """The members of one block, asked for by key.

    Args:
        node: the block.
        what: the block in words, for errors: "a source of intentions".
        report: where faults go.
    """

    def __init__(self, node: ObjectNode, what: str, report: Report) -> None:
        self.at = node.at
        self.what = what
        self.report = report
        self._asked: dict[str, str] = {}
        self._members: dict[str, list[Member]] = {}
        for member in node.members:
            if member.value != Scalar(None):  # JSON's null: not said
                self._members.setdefault(plain(member.key), []).append(member)

    # ------------------------------------------------------------------------------------------- the block

    def has(self, key: str) -> bool:
        """Say whether the key is written."""
        return plain(key) in self._members

    def place(self, key: str) -> Position:
        """Return where the key's value stands, or its block; where this block begins when the key is not written."""
        members = self._members.get(plain(key))
        if not members:
            return self.at
        return members[0].value.at if isinstance(members[0].value, Scalar) else members[0].at

    def finish(self, not_implemented: Mapping[str, str] | Iterable[str] = ()) -> None:
        """Refuse every key that was not asked for.

        Args:
            not_implemented: keys that Consul has here and Meshyard has not; a mapping also says what to do instead.
        """
        hints = not_implemented if isinstance(not_implemented, Mapping) else dict.fromkeys(not_implemented, "")
        consul_only = {plain(key): hint for key, hint in hints.items()}
        for name, members in self._members.items():
            if name in self._asked:
                continue
            for member in members:
                if name in consul_only:
                    reason = f'"{member.key}" in {self.what} is known to Consul and not implemented by Meshyard'
                    self.report.add(reason, member.at, consul_only[name] or "leaving it out")
                else:
                    self.report.add(f'unknown key "{member.key[:80]}" in {self.what}', member.at, self._suggest(name))

    def _suggest(self, name: str) -> str:
        close = get_close_matches(name[:80], list(self._asked), 1, 0.6)
        known = "known keys: " + ", ".join(self._asked.values())
        return f"did you mean {self._asked[close[0]]}? {known}" if close else known

    def _wrong(self, key: str, node: Node, right: str) -> None:
        self.report.add(f"{key} in {self.what} is {describe(node)}", node.at, right)

    def _one(self, key: str) -> Member | None:
        """Return the only member of this key; a second one is a fault."""
        self._asked[plain(key)] = key
        members = self._members.get(plain(key), [])
        for extra in members[1:]:
            self.report.add(f"{key} is given twice in {self.what}, first in line {members[0].at.line}", extra.at)
        for member in members[:1]:
            self._refuse_labels(member)
            return member
        return None

    def _refuse_labels(self, member: Member) -> None:
        if member.labels:
            reason = f'{member.key} "{member.labels[0][:40]}" has a label, and no block of Meshyard takes one'
            self.report.add(reason, member.at, f"{member.key} {{ ... }} with the name as a key inside")

    def _scalar(self, key: str, right: str) -> tuple[str | int | float | bool, Position] | None:
        member = self._one(key)
        if member is None:
            return None
        if not isinstance(member.value, Scalar) or member.value.value is None:
            self._wrong(key, member.value, right)
            return None
        return member.value.value, member.value.at

    # ------------------------------------------------------------------------------------------- scalars

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None when the key is not written."""
        found = self._scalar(key, "a string")
        if found is None:
            return None
        value, at = found
        if not isinstance(value, str):
            written = str(value).lower() if isinstance(value, bool) else str(value)
            self._wrong(key, Scalar(value, at), f'a string in double quotes: "{written}"')
            return None
        if len(value) > MAX_TEXT:
            self.report.add(f"{key} in {self.what} has {len(value)} characters", at, f"at most {MAX_TEXT}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a string, or the default."""
        value = self.optional_text(key)
        return default if value is None else value

    def required_text(self, key: str, right: str) -> str:
        """Return a string that must be there and not be empty; `right` is what it would say."""
        value = self.optional_text(key)
        if value == "" or (value is None and not self.has(key)):
            self.report.add(f"{self.what} has no {key}", self.place(key), f"{key} = {right}")
        return value or ""

    def name(self, key: str, what: str, *, allows_wildcard: bool = False) -> str:
        """Return a required name, a DNS label; or `*` where that is allowed."""
        value = self.required_text(key, f'"payment-service", the name of a {what}')
        return self._label(key, value, what, allows_wildcard)

    def optional_name(self, key: str, what: str) -> str | None:
        """Return a name, or None when the key is not written."""
        value = self.optional_text(key)
        return self._label(key, value, what, False) if value else None

    def _label(self, key: str, value: str, what: str, allows_wildcard: bool) -> str:
        if value == "" or (allows_wildcard and value == WILDCARD):
            return value
        at = self.place(key)
        if WILDCARD in value and allows_wildcard:
            self.report.add(f'{key}: "{value[:80]}" is a partial wildcard', at, "a whole name, or '*' for all")
            return value
        try:
            return require_label(value, what)
        except ConfigError as error:
            self.report.attach(error, at, key)
            return value

    def boolean(self, key: str, default: bool = False) -> bool:
        """Return true or false, or the default."""
        value = self.optional_boolean(key)
        return default if value is None else value

    def optional_boolean(self, key: str) -> bool | None:
        """Return true or false, or None when the key is not written."""
        found = self._scalar(key, "true or false")
        if found is None:
            return None
        value, at = found
        if not isinstance(value, bool):
            self._wrong(key, Scalar(value, at), "true or false, without quotes")
            return None
        return value

    def integer(self, key: str, *, least: int = 0, most: int = 2**32 - 1) -> int | None:
        """Return a whole number within bounds (both included), or None when the key is not written."""
        right = f"a whole number from {least} to {most}"
        found = self._scalar(key, right)
        if found is None:
            return None
        value, at = found
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(key, Scalar(value, at), right + (", without quotes" if isinstance(value, str) else ""))
            return None
        return value

    def duration(self, key: str, *, least_s: float = 0.0, most_s: float = 86400.0) -> float | None:
        """Return seconds within bounds (both included), or None when the key is not written."""
        right = f'a duration from "{format_duration(least_s)}" to "{format_duration(most_s)}", such as "10s" or "250ms"'
        found = self._scalar(key, right)
        if found is None:
            return None
        value, at = found
        if not isinstance(value, str):
            self._wrong(key, Scalar(value, at), right)
            return None
        try:
            seconds = parse_duration(value[:80])
        except ConfigError as error:
            self.report.attach(error, at, key)
            return None
        if not least_s <= seconds <= most_s:
            self._wrong(key, Scalar(value, at), right)
            return None
        return seconds

    def choice(self, key: str, kind: type[_Enum], consul_only: Iterable[str] = ()) -> _Enum | None:
        """Return one of an enumeration's words, or None when the key is not written.

        Args:
            key: the key.
            kind: the words that are right.
            consul_only: words that Consul takes and Meshyard does not implement.
        """
        value = self.optional_text(key)
        if value is None:
            return None
        words = [str(word) for word in kind]
        if value in words:
            return kind(value)
        is_consul = value in set(consul_only)
        why = "known to Consul and not implemented by Meshyard" if is_consul else "not known"
        self.report.add(f'{key}: "{value[:80]}" is {why}', self.place(key), " or ".join(f'"{w}"' for w in words))
        return None

    # ------------------------------------------------------------------------------------------- collections

    def texts(self, key: str) -> tuple[tuple[str, Position], ...]:
        """Return a list of strings, each with its place; empty when the key is not written."""
        return tuple(
            (str(item.value), item.at)
            for item in self._items(key, 'a list of strings: ["a", "b"]')
            if self._is_of(key, item, str, 'a list of strings: ["a", "b"]')
        )

    def integers(self, key: str, *, least: int, most: int) -> tuple[int, ...]:
        """Return a list of whole numbers within bounds; empty when the key is not written."""
        right = f"a list of whole numbers from {least} to {most}"
        found = []
        for item in self._items(key, right):
            if self._is_of(key, item, int, right):
                number = int(item.value or 0)
                found.append(number)
                if not least <= number <= most:
                    self._wrong(key, item, right)
        return tuple(found)

    def _items(self, key: str, right: str) -> Iterable[Scalar]:
        member = self._one(key)
        if member is None:
            return
        if not isinstance(member.value, ListNode):
            self._wrong(key, member.value, right)
            return
        for item in member.value.items:
            if isinstance(item, Scalar):
                yield item
            else:
                self._wrong(key, item, right)

    def _is_of(self, key: str, item: Scalar, kind: type, right: str) -> bool:
        is_right = isinstance(item.value, kind) and not isinstance(item.value, bool)
        if not is_right:
            self._wrong(key, item, right)
        return is_right

    def mapping(self, key: str) -> dict[str, str]:
        """Return a block of free keys with strings, such as Meta; the keys keep their spelling."""
        node = self.block(key)
        found: dict[str, str] = {}
        for member in node.members if node else ():
            if not isinstance(member.value, Scalar) or not isinstance(member.value.value, str):
                self._wrong(f"{key}.{member.key[:80]}", member.value, "a string in double quotes")
            elif member.key in found:
                self.report.add(f"{key}.{member.key[:80]} is given twice", member.at)
            else:
                found[member.key] = member.value.value
        return found

    def block(self, key: str) -> ObjectNode | None:
        """Return a block that may stand once; a list of one block is the same (HCL 1 cannot tell them apart)."""
        blocks = self.blocks(key)
        for extra in blocks[1:]:
            self.report.add(f"{key} is given twice in {self.what}, first in line {blocks[0].at.line}", extra.at)
        return blocks[0] if blocks else None

    def blocks(self, key: str, most: int = MAX_BLOCKS) -> tuple[ObjectNode, ...]:
        """Return blocks that may stand several times: repeated, or as a list; the first `most` of them."""
        self._asked[plain(key)] = key
        found: list[ObjectNode] = []
        for member in self._members.get(plain(key), []):
            self._refuse_labels(member)
            nodes = member.value.items if isinstance(member.value, ListNode) else (member.value,)
            for node in nodes:
                if isinstance(node, ObjectNode):
                    found.append(node)
                else:
                    self._wrong(key, node, f"a block: {key} {{ ... }}, or a list of blocks")
        if len(found) > most:
            self.report.add(f"{len(found)} {key} in {self.what}", found[most].at, f"at most {most}")
        return tuple(found[:most])
