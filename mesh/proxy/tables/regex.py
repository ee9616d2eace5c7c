"""Regular expressions in linear time: a caller chooses the text, so no pattern may be slow on any text.

Python's `re` tries alternatives one after the other and can need exponential time; RE2, which Envoy uses, never does.
So the syntax of RE2 that people write in routes and permissions is parsed here into a nondeterministic automaton, and
run as a deterministic one that is built as texts need it (a state is a set of places in the pattern). One step per
character, whatever the pattern; `*?` and `*` mean the same, because only "the whole text matches" is asked.

Understood: literals, `.`, classes `[a-z]` and `[^...]`, `\\d \\D \\w \\W \\s \\S` (ASCII, as in RE2), escapes of
punctuation and `\\n \\t \\r \\f \\v \\a \\xHH`, groups `(...)`, `(?:...)`, `(?P<name>...)`, alternation,
`* + ? {m,n}` with n up to 1000, a leading `(?i)`, and `^` and `$` around the pattern or its outermost alternatives.
Anything else is refused with a sentence.

Source: https://github.com/google/re2/wiki/Syntax; Thompson's construction; the parser is `regex_syntax`.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.base.errors import MeshError
from mesh.proxy.tables.regex_syntax import Alternatives, CharSet, Node, Repeat, Sequence, SyntaxFault, parse

MAX_PLACES = 2000  # as many as a pattern may need; `((a{100}){100}){100}` needs more
MAX_STEPS = 10_000  # steps of the deterministic automaton that are remembered; then it begins anew


class RegexError(MeshError):
    """A pattern is not RE2 syntax, not implemented here, or too large."""


def compile_regex(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:
    """Return a function that says whether the whole of a text matches; its time is linear in the text.

    Raises:
        RegexError: the pattern is refused; the message says why.
    """
    try:
        parsed = parse(pattern)
    except SyntaxFault as error:
        raise RegexError(f"reading the regex {pattern!r}: {error}") from error
    machine = _Machine()
    start = machine.add(parsed.node, _Machine.ACCEPT)
    if len(machine.places) > MAX_PLACES:
        raise RegexError(f"reading the regex {pattern!r}: it is too large, at most {MAX_PLACES} places are allowed")
    return Automaton(machine, start, is_ignoring_case=ignore_case or parsed.is_ignoring_case).matches


class _Machine:
    """The nondeterministic automaton: a place eats one character of a set, or splits without eating."""

    ACCEPT = 0

    def __init__(self) -> None:
        # (characters or None for a split, next places)
        self.places: list[tuple[CharSet | None, tuple[int, ...]]] = [(None, ())]

    def add(self, node: Node, after: int) -> int:
        """Add a node that goes on to `after`; return where it begins."""
        if len(self.places) > MAX_PLACES:
            return after
        if isinstance(node, CharSet):
            return self._place(node, after)
        if isinstance(node, Sequence):
            for part in reversed(node.parts):
                after = self.add(part, after)
            return after
        if isinstance(node, Alternatives):
            return self._place(None, *(self.add(part, after) for part in node.parts))
        return self._repeat(node, after)

    def _repeat(self, node: Repeat, after: int) -> int:
        if node.maximum is None:
            loop = self._place(None)
            self.places[loop] = (None, (self.add(node.body, loop), after))
            begin = loop
        else:
            begin = after
            for _ in range(node.maximum - node.minimum):
                begin = self._place(None, self.add(node.body, begin), after)
        for _ in range(node.minimum):
            begin = self.add(node.body, begin)
        return begin

    def _place(self, characters: CharSet | None, *following: int) -> int:
        self.places.append((characters, following))
        return len(self.places) - 1


class _State:
    """A set of places, and where each character seen so far leads from it."""

    __slots__ = ("is_accepting", "places", "steps")

    def __init__(self, places: frozenset[int]) -> None:
        self.places = places
        self.is_accepting = _Machine.ACCEPT in places
        self.steps: dict[str, _State] = {}


class Automaton:
    """The deterministic automaton, built on demand; what it remembers is bounded."""

    __slots__ = ("_is_ignoring_case", "_machine", "_remembered", "_start", "_states")

    def __init__(self, machine: _Machine, start: int, *, is_ignoring_case: bool) -> None:
        self._machine = machine
        self._is_ignoring_case = is_ignoring_case
        self._states: dict[frozenset[int], _State] = {}
        self._remembered = 0
        self._start = self._state(self._close([start]))

    def matches(self, text: str) -> bool:
        """Say whether the whole text matches."""
        state = self._start
        for character in text:
            following = state.steps.get(character)
            if following is None:
                following = self._step(state, character)
            state = following
            if not state.places:
                return False
        return state.is_accepting

    def _step(self, state: _State, character: str) -> _State:
        places = self._machine.places
        reached: list[int] = []
        for place in state.places:
            characters, following = places[place]
            if characters is not None and self._is_eaten(character, characters):
                reached += following
        if self._remembered >= MAX_STEPS:
            self._forget()
        self._remembered += 1
        made = state.steps[character] = self._state(self._close(reached))
        return made

    def _is_eaten(self, character: str, characters: CharSet) -> bool:
        if not self._is_ignoring_case or not character.isascii():
            return character in characters
        cases = (character in characters, character.swapcase() in characters)
        return all(cases) if characters.is_negated else any(cases)

    def _state(self, places: frozenset[int]) -> _State:
        known = self._states.get(places)
        if known is None:
            known = self._states[places] = _State(places)
        return known

    def _forget(self) -> None:
        """Begin anew; a match under way goes on with the states it holds."""
        self._states = {}
        self._remembered = 0
        self._start = self._state(self._start.places)

    def _close(self, begin: list[int]) -> frozenset[int]:
        """Follow the splits; keep the places that eat, and the end."""
        places = self._machine.places
        seen: set[int] = set()
        todo = list(begin)
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            characters, following = places[place]
            if characters is None:
                todo += following
        return frozenset(place for place in seen if places[place][0] is not None or place == _Machine.ACCEPT)
