"""A log line is one JSON object without secrets."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.ca.authority import new_key
from mesh.telemetry.logs import JsonFormatter, redact, redact_text, setup_logging

TOKEN = "meshjoin-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
KEY = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def line(message: str, *args: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "mesh.agent", "levelname": "INFO", "msg": message, "args": args, **extra})
    record.exc_info = exc_info
    text = JsonFormatter("agent").format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def test_a_sentence_with_fields() -> None:
    found = line("svid renewed", spiffe_id="spiffe://a/b", attempt=2)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "info",
        "unit": "agent",
        "logger": "mesh.agent",
        "message": "svid renewed",
        "spiffe_id": "spiffe://a/b",
        "attempt": 2,
    }


@pytest.mark.parametrize("name", ["key", "private_key", "token", "password", "Authorization", "body", "cookie"])
def test_secrets_by_name(name: str) -> None:
    assert redact(name, "value") == "[redacted]"
    assert redact("outer", {name: "value", "n": 1}) == {name: "[redacted]", "n": 1}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"wrote {KEY}", id="a private key"),
        pytest.param(f"wrote {KEY[:90]}", id="half a private key"),
        pytest.param(f"joined with {TOKEN}", id="a join token"),
        pytest.param(f"Authorization: Bearer {TOKEN[9:]}", id="a bearer token"),
        pytest.param(f"BEARER  {TOKEN[9:]}", id="a bearer token in capitals"),
    ],
)
def test_secrets_by_look(text: str) -> None:
    secret = (KEY.splitlines()[1], TOKEN[9:])
    for shown in (redact_text(text), json.dumps(line("x", note=text)), json.dumps(line("%s", text))):
        assert "[redacted]" in shown
        assert not any(each in shown for each in secret)


def test_bytes_are_never_shown() -> None:
    assert line("read", chunk=b"card 4242")["chunk"] == "<9 bytes>"


def test_an_exception_is_one_field_and_redacted() -> None:
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        found = line("joining failed", exc_info=sys.exc_info())
    assert "ValueError: bad token [redacted]" in found["exception"]


def test_hostile_text_stays_in_its_field() -> None:
    found = line("peer refused", reason='x"}\n{"level":"error"', path="\x1b[2J\udc80")
    assert found["reason"] == 'x"}\n{"level":"error"'
    assert found["level"] == "info"


def test_a_field_cannot_replace_one_of_ours() -> None:
    assert line("hello", unit="forged", level="forged")["unit"] == "agent"


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def test_setup_takes_over_the_root(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup_logging("sidecar", stream=stream)
    setup_logging("sidecar", stream=stream)
    logging.getLogger("mesh.proxy").info("ready", extra={"listeners": 2})
    logging.getLogger("mesh.proxy").debug("not written")
    assert [json.loads(each)["listeners"] for each in stream.getvalue().splitlines()] == [2]
