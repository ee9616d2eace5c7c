"""Regular expressions in linear time: an automaton, built lazily, instead of backtracking.

Python's `re` tries one way after the other; a pattern such as `(a+)+b` then takes longer than the universe has for
a path of forty letters, and whoever may send a request may send that path. Here the pattern becomes a
nondeterministic automaton (Thompson's construction). All its states are followed at once, and each set of states
that was seen once is remembered with its successors, so that matching soon costs one dictionary look-up for each
character, whatever the pattern.

Source: Ken Thompson, "Regular Expression Search Algorithm" (1968); Russ Cox, "Regular Expression Matching Can Be
Simple And Fast" (2007), which is also the idea of RE2.
"""

from __future__ import annotations

from functools import lru_cache

from mesh.base.errors import ConfigError
from mesh.base.regex_syntax import Alternate, Anchor, Chars, Concat, Node, Ranges, Repeat, parse_regex

MAX_STATES = 2048  # of the nondeterministic automaton, after counted repetitions are written out
MAX_REMEMBERED = 512  # sets of states; then the memory is emptied and filled anew

ACCEPT = 0  # the number of the accepting state


class _Program:
    """The nondeterministic automaton: a state either takes a character, or leads on without one."""

    def __init__(self) -> None:
        self.takes: list[Ranges | None] = [None]
        self.leads: list[list[int]] = [[]]
        self.anchors: dict[int, bool] = {}  # state -> True: only at the start of the text, False: only at its end

    def add(self, takes: Ranges | None, *leads: int) -> int:
        if len(self.takes) >= MAX_STATES:
            raise ConfigError(
                f"reading a regular expression: it is larger than {MAX_STATES} states",
                right="smaller numbers in counted repetitions such as {1,200}",
            )
        self.takes.append(takes)
        self.leads.append(list(leads))
        return len(self.takes) - 1

    def build(self, node: Node, then: int) -> int:
        """Write `node` in front of the state `then`; return where it begins."""
        match node:
            case Chars(ranges):
                return self.add(ranges, then)
            case Anchor(is_start):
                state = self.add(None, then)
                self.anchors[state] = is_start
                return state
            case Concat(items):
                for item in reversed(items):
                    then = self.build(item, then)
                return then
            case Alternate(branches):
                return self.add(None, *[self.build(branch, then) for branch in branches])
            case Repeat(item, least, most):
                return self._repeat(item, least, most, then)

    def _repeat(self, item: Node, least: int, most: int | None, then: int) -> int:
        if most is None:
            loop = self.add(None, then)
            self.leads[loop].append(self.build(item, loop))
            then = loop
        for _ in range((most or 0) - least if most is not None else 0):
            then = self.add(None, then, self.build(item, then))
        for _ in range(least):
            begin = self.build(item, then)
            if begin == then:
                break  # the item is empty: writing it out again adds nothing, and nested it would never end
            then = begin
        return then

    def closure(self, states: frozenset[int], *, at_start: bool = False, at_end: bool = False) -> frozenset[int]:
        """Return all states that are reached without taking a character."""
        seen, waiting = set(states), list(states)
        while waiting:
            state = waiting.pop()
            if self.takes[state] is not None or not self._is_passable(state, at_start, at_end):
                continue
            fresh = [lead for lead in self.leads[state] if lead not in seen]
            seen.update(fresh)
            waiting += fresh
        return frozenset(seen)

    def _is_passable(self, state: int, at_start: bool, at_end: bool) -> bool:
        needs_start = self.anchors.get(state)
        return needs_start is None or (at_start if needs_start else at_end)


class _Step:
    """A remembered set of states: where each character leads, and whether the text may end here."""

    __slots__ = ("accepts", "next", "states")

    def __init__(self, states: frozenset[int], accepts: bool) -> None:
        self.states = states
        self.accepts = accepts
        self.next: dict[str, _Step] = {}


class Regex:
    """A compiled pattern. Matching cost grows with the text, never with how it could be taken apart."""

    __slots__ = ("_first", "_program", "_remembered", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._program = _Program()
        start = self._program.build(parse_regex(pattern), ACCEPT)
        states = self._program.closure(frozenset({start}), at_start=True)
        ends = self._program.closure(frozenset({start}), at_start=True, at_end=True)
        self._first = _Step(states, ACCEPT in ends)
        self._remembered: dict[frozenset[int], _Step] = {}

    def fullmatch(self, text: str) -> bool:
        """Say whether the whole of `text` matches."""
        step = self._first
        for char in text:
            step = step.next.get(char) or self._advance(step, char)
            if not step.states:
                return False
        return step.accepts

    def _advance(self, step: _Step, char: str) -> _Step:
        """Follow every state at once over `char`, and remember where that led."""
        code = ord(char)
        program = self._program
        reached = {
            program.leads[state][0]
            for state in step.states
            if any(low <= code <= high for low, high in program.takes[state] or ())
        }
        states = program.closure(frozenset(reached))
        if len(self._remembered) >= MAX_REMEMBERED or len(step.next) >= MAX_REMEMBERED:
            self._forget()
        known = self._remembered.get(states)
        if known is None:
            known = self._remembered[states] = _Step(states, ACCEPT in program.closure(states, at_end=True))
        step.next[char] = known
        return known

    def _forget(self) -> None:
        """Drop what was remembered, so that no sequence of texts can fill the memory."""
        for step in (self._first, *self._remembered.values()):
            step.next.clear()
        self._remembered.clear()


@lru_cache(maxsize=1024)
def compile_regex(pattern: str) -> Regex:
    """Compile `pattern`; the same pattern gives the same object.

    Raises:
        ConfigError: not an expression of the subset (see `regex_syntax`); without a position.
    """
    return Regex(pattern)
