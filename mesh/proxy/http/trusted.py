"""Names with a meaning inside the mesh: believed only when the mesh wrote them, so stripped from what peers send.

An underscore alias (`x_forwarded_client_cert`) is the same name to every backend that maps headers to variables
(CGI, WSGI), so it is stripped alike.
"""

from __future__ import annotations

from collections.abc import Iterable

# Fields of one hop (RFC 9110 section 7.6.1), what belongs to an upgrade that is never done, and the expectation of a
# 100, which this proxy answers itself.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"upgrade", "http2-settings", "expect"}
)
# A head that has one of these is refused: it may be a framing field to somebody behind us.
FRAMING_ALIASES = frozenset({"content_length", "transfer_encoding"})

TRUSTED_NAMES = frozenset({"x-forwarded-client-cert"})
TRUSTED_PREFIXES = ("x-envoy-", "x-mesh-")


# What nearly every request has that begins with x and is nobody's claim: known without looking closer.
FAMILIAR_NAMES = frozenset(
    {"x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"}
    | {"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"}
)


def is_trusted_name(name: str) -> bool:
    """Say whether a lower-case field name is one only the mesh may write, underscores counting as dashes."""
    canonical = name.replace("_", "-")
    return canonical in TRUSTED_NAMES or canonical.startswith(TRUSTED_PREFIXES)


def trusted_names_in(names: Iterable[str]) -> set[str]:
    """Return those of the lower-case names that only the mesh may write."""
    return {name for name in names if name[0] == "x" and name not in FAMILIAR_NAMES and is_trusted_name(name)}
