"""Of what a tool printed, the one line that says what went wrong."""

from __future__ import annotations

import re


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def telling_line(text: str) -> str:
    """Return the line of a tool's output that names the trouble: about certificates, the last error, or the last."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    distrust = [line for line in lines if re.search(r"certificate|SSLError|x509", line, re.IGNORECASE)]
    errors = [line for line in lines if re.match(r"E: |ERROR|error:", line)]
    return (distrust[:1] or errors[-1:] or [last_line("\n".join(lines))])[0]
