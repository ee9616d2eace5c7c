"""Names of services, hosts and datacenters: DNS labels, so that each is also a host name and a path segment."""

from __future__ import annotations

import re

from mesh.base.errors import ConfigError

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
WILDCARD = "*"


def require_label(text: str, what: str) -> str:
    """Return `text` when it is a DNS label.

    Raises:
        ConfigError: it is not; the error has no position, the caller adds it.

    Source: RFC 1123 section 2.1, lower case only.
    """
    if not LABEL.fullmatch(text):
        raise ConfigError(
            f"reading the name of a {what}: {text!r} is not a DNS label",
            right="1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )
    return text
