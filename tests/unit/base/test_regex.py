"""Our automaton agrees with Python's engine on what both know, and never takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import ConfigError
from mesh.base.regex import MAX_REMEMBERED, Regex, compile_regex


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        pytest.param("", "", True, id="nothing matches nothing"),
        pytest.param("/v[12]/.*", "/v2/orders", True, id="a class and a star"),
        pytest.param("/v[12]/.*", "/v3/orders", False, id="not of the class"),
        pytest.param("^/a$", "/a", True, id="anchors are allowed and say nothing new"),
        pytest.param("a^b", "ab", False, id="an anchor in the middle never holds"),
        pytest.param("(a|b$)c?", "b", True, id="an anchor in a branch"),
        pytest.param("(?i)get|PUT", "Get", True, id="case is ignored when asked for"),
        pytest.param("(?i)[^a]", "A", False, id="also in an inverted class"),
        pytest.param("(?P<id>[0-9]+)", "42", True, id="a named group"),
        pytest.param("[0-9a-f]{8}-[0-9a-f]{4}", "0123abcd-beef", True, id="counted"),
        pytest.param("a{2}", "aaa", False, id="exactly counted"),
        pytest.param("a{2,}", "aaa", True, id="counted without an end"),
        pytest.param("a{,2}", "a{,2}", True, id="'{,2}' is no repetition, it is itself"),
        pytest.param("a*?b+?", "aab", True, id="lazy is the same as greedy for a whole text"),
        pytest.param(r"\d\w\s\D\W\S", "1a\tx-y", True, id="classes with a backslash"),
        pytest.param(r"[\d.]+", "1.2", True, id="a class inside a class"),
        pytest.param(r"[]a-]+", "]-a", True, id="']' first and '-' last are themselves"),
        pytest.param(r"\x2f\.\n", "/.\n", True, id="escapes"),
        pytest.param(".", "\n", False, id="a point takes no newline"),
        pytest.param("(a*)*b", "aaab", True, id="a star of a star"),
        pytest.param(r"\Aab\z", "ab", True, id="\\A and \\z"),
    ],
)
def test_matches(pattern: str, text: str, is_match: bool) -> None:
    assert compile_regex(pattern).fullmatch(text) is is_match


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param(r"(a)\1", "backreference", id="a backreference"),
        pytest.param("(?=a)b", "lookahead", id="lookahead"),
        pytest.param("(?!a)b", "lookahead", id="negative lookahead"),
        pytest.param("(?<=a)b", "lookbehind", id="lookbehind"),
        pytest.param("(?>a)b", "atomic", id="an atomic group"),
        pytest.param("a++", "a repetition is repeated", id="a possessive repetition"),
        pytest.param("a**", "a repetition is repeated", id="a repetition twice"),
        pytest.param("*a", "nothing to repeat", id="a star for nothing"),
        pytest.param("^*", "an anchor is repeated", id="a repeated anchor"),
        pytest.param("(a", "without", id="an open group"),
        pytest.param("a)", "without", id="a closed group that was not open"),
        pytest.param("[a", "ends too early", id="an open class"),
        pytest.param("[z-a]", "runs backwards", id="a range that runs backwards"),
        pytest.param("[[:alpha:]]", "POSIX", id="a POSIX class"),
        pytest.param("a\\", "ends too early", id="a backslash at the end"),
        pytest.param(r"\bfoo", "not known", id="a word boundary"),
        pytest.param(r"\xfg", "hexadecimal", id="no hexadecimal digits"),
        pytest.param("a{3,2}", "a repetition of 3 to 2", id="a count that runs backwards"),
        pytest.param("a{1,5000}", "a repetition of 1 to 5000", id="a count over the limit"),
        pytest.param("((a{200}){200}){200}", "larger than 2048", id="counts that multiply"),
        pytest.param("(" * 40 + ")" * 40, "deeper than", id="too many groups in groups"),
        pytest.param("a" * 1025, "1025 characters", id="too long"),
        pytest.param("ä", "not ASCII", id="a letter beyond ASCII"),
        pytest.param("a(?i)b", "not known", id="(?i) in the middle"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param("(a+)+b", "a" * 20_000, id="nested repetitions"),
        pytest.param("(a|a)*b", "a" * 20_000, id="two ways to take a letter"),
        pytest.param(".*a.*b.*c", "a" * 20_000, id="several stars"),
        pytest.param("((((){256}){256}){256}){256}", "", id="an empty group, counted again and again"),
    ],
)
def test_no_text_takes_long(pattern: str, text: str) -> None:
    """Each of these would take a backtracking engine longer than a person waits; here it is one pass."""
    assert compile_regex(pattern).fullmatch(text) is (text == "")


def test_what_is_remembered_is_bounded() -> None:
    regex = Regex(".*")
    for code in range(1000, 1000 + 3 * MAX_REMEMBERED):
        assert regex.fullmatch(chr(code) * 2)
    assert max(len(step.next) for step in [regex._first, *regex._remembered.values()]) <= MAX_REMEMBERED


letters = st.text(alphabet="ab/", max_size=8)


def _repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repetitions = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])
    return st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: f"({a}|{b})", inner, inner),
        st.builds(lambda a, b: f"(?:{a}){b}", inner, repetitions),
    )


patterns = st.recursive(st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", r"\w", ""]), _repeated, max_leaves=6)


@pytest.mark.slow
@given(patterns, letters)
def test_it_agrees_with_pythons_engine(pattern: str, text: str) -> None:
    assert Regex(pattern).fullmatch(text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.slow
@given(st.text(alphabet="ab()[]{}*+?|\\^$.-1,?:P<>=! x", max_size=20), letters)
def test_any_pattern_compiles_or_is_refused(pattern: str, text: str) -> None:
    try:
        regex = Regex(pattern)
    except ConfigError:
        return
    regex.fullmatch(text)
