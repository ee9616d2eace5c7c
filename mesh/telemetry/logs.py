"""Process logs: JSON lines on stderr, a constant sentence with fields; never a key, a token or a body.

    log = logging.getLogger("mesh.agent")
    log.info("svid renewed", extra={"spiffe_id": str(identity), "not_after": not_after.isoformat()})
    {"time":"...","level":"info","unit":"agent","logger":"mesh.agent","message":"svid renewed","spiffe_id":...}

The redaction guard is the second line of defence. The first is not to log secrets at all; a test that greps the lab's
logs for keys holds both.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO

from mesh.telemetry.accesslog import format_record

REDACTED = "[redacted]"
_SECRET_NAMES = frozenset(
    {"key", "private_key", "key_pem", "key_der", "token", "join_token", "management_token", "secret", "password"}
    | {"authorization", "cookie", "set-cookie", "body", "payload", "credentials"}
)
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer)\s+[^\s\"',;]+"
    r"|\bmesh(?:re)?join-[A-Za-z0-9_-]+",
    re.DOTALL,
)
_PLAIN_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Turns a log record into one JSON line of at most 8 KiB."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, without its line feed."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "unit": self.unit,
            "logger": record.name,
            "message": redact_text(record.getMessage()),
        }
        extra = {name: value for name, value in record.__dict__.items() if name not in _PLAIN_ATTRIBUTES}
        fields |= {name: redact(name, value) for name, value in extra.items() if name not in fields}
        if record.exc_info:
            fields["exception"] = redact_text(self.formatException(record.exc_info))
        return format_record(fields).decode("ascii").rstrip("\n")


def setup_logging(unit: str, *, level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Send everything that is logged in this process to stderr as JSON lines.

    Args:
        unit: the process ("agent", "sidecar", "control-plane"), a field of each line.
        level: the lowest level that is written.
        stream: in place of stderr.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter(unit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def redact(name: str, value: object) -> object:
    """Return what may be written of a field: secrets by name or by look are replaced, bytes become their length."""
    if name.lower() in _SECRET_NAMES:
        return REDACTED
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(key): redact(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(name, each) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact_text(str(value))


def redact_text(text: str) -> str:
    """Replace private keys, bearer tokens and join tokens inside a text."""
    return _SECRET_TEXT.sub(REDACTED, text)
