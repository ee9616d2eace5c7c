"""Errors survive the wire; bodies are bounded before they are parsed."""

from __future__ import annotations

import pytest

from mesh.api.client import ApiError, error_of
from mesh.api.shapes import error_shape, read_json_object
from mesh.base.errors import ConfigError, ConfigErrors, IdentityError, Position, RemoteProtocolError

FIRST = ConfigError("wrong", Position("a.hcl", 3, 5), source_line="  wrong", right="right")
SECOND = ConfigError("also wrong", Position("a.hcl", 4, 1))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(FIRST, id="with place and line"),
        pytest.param(ConfigError("wrong"), id="without a place"),
        pytest.param(ConfigErrors((FIRST, SECOND)), id="several"),
    ],
)
def test_a_config_error_reads_the_same_on_the_other_side(error: ConfigError) -> None:
    body = error_shape("config", error)["error"]
    again = error_of(400, body)
    assert isinstance(again, ConfigError)
    assert again.explain() == error.explain()


def test_other_errors_keep_their_kind() -> None:
    assert isinstance(error_of(403, {"kind": "identity", "message": "no"}), IdentityError)
    conflict = error_of(409, {"kind": "conflict", "message": "needed"})
    assert isinstance(conflict, ApiError)
    assert (conflict.kind, conflict.status, str(conflict)) == ("conflict", 409, "needed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[" * 100_000, "deeper", id="too deep for any parser"),
        pytest.param('{"a": ', "not JSON", id="cut short"),
        pytest.param("[]", "not a JSON object", id="a list"),
    ],
)
def test_bodies_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        read_json_object(text)


def test_an_object_is_read() -> None:
    assert read_json_object('{"ttl_s": 60}') == {"ttl_s": 60}
