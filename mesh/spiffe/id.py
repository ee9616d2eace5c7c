"""A SPIFFE ID: `spiffe://<trust domain>/<path>`, the name that a certificate proves.

    spiffe://dominos.internal/ns/production/sa/order-service
             └ trust domain ┘└──────────── path ────────────┘

A `SpiffeId` that exists is well formed: the constructor checks, so nobody downstream has to. The rules are
those of the SPIFFE-ID standard, section 2; they are narrow on purpose (no escapes, no dots, no second spelling),
so that two programs which compare two IDs byte for byte never disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mesh.base.errors import IdentityError

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_PATH = re.compile(r"(?:/[a-zA-Z0-9._-]+)+")
_SERVICE_PATH = re.compile(r"/ns/([^/]+)/sa/([^/]+)")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload's identity; with an empty path, a trust domain's.

    Args:
        trust_domain: lower case, at most 255 bytes.
        path: empty, or segments that each begin with a slash.

    Raises:
        IdentityError: a part breaks the standard; the message says which.

    Source: SPIFFE-ID.md, sections 2.1 to 2.4.
    """

    trust_domain: str
    path: str = ""

    def __post_init__(self) -> None:
        _require_trust_domain(self.trust_domain)
        if self.path:
            _require_path(self.path)
        if len(str(self)) > MAX_ID_BYTES:
            raise IdentityError(f"reading a SPIFFE ID: {len(str(self))} bytes, at most {MAX_ID_BYTES} are allowed")

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Read an ID. Scheme and trust domain may come in any case and are kept in lower case.

        Raises:
            IdentityError: not a SPIFFE ID; the message names the fault.
        """
        if len(text) > MAX_ID_BYTES:
            raise IdentityError(f"reading a SPIFFE ID: {len(text)} bytes, at most {MAX_ID_BYTES} are allowed")
        if text[: len(SCHEME)].lower() != SCHEME:
            raise IdentityError(f"reading a SPIFFE ID: {text!r} does not begin with {SCHEME}")
        for mark, part in (("?", "a query"), ("#", "a fragment")):
            if mark in text:
                raise IdentityError(f"reading a SPIFFE ID: {text!r} has {part}, an ID has none")
        authority, slash, rest = text[len(SCHEME) :].partition("/")
        return cls(_ascii_lower(authority), slash + rest)

    @classmethod
    def for_service(cls, trust_domain: str, namespace: str, service: str) -> SpiffeId:
        """Return the ID of a service, in the path form that Istio uses: `/ns/<namespace>/sa/<service>`."""
        return cls(trust_domain, f"/ns/{namespace}/sa/{service}")

    @property
    def namespace(self) -> str:
        """Return the namespace in the path.

        Raises:
            IdentityError: the path is not of the form `/ns/<namespace>/sa/<service>`.
        """
        return self._service_parts()[0]

    @property
    def service(self) -> str:
        """Return the service in the path.

        Raises:
            IdentityError: the path is not of the form `/ns/<namespace>/sa/<service>`.
        """
        return self._service_parts()[1]

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"

    def _service_parts(self) -> tuple[str, str]:
        found = _SERVICE_PATH.fullmatch(self.path)
        if not found:
            raise IdentityError(f"reading the service of {self}: its path is not /ns/<namespace>/sa/<service>")
        return found[1], found[2]


def _ascii_lower(text: str) -> str:
    """Lower A to Z only: `str.lower` would turn the Kelvin sign into an innocent k."""
    return text.lower() if text.isascii() else text


def _require_trust_domain(name: str) -> None:
    if not name:
        raise IdentityError("reading a SPIFFE ID: the trust domain is empty")
    if len(name) > MAX_TRUST_DOMAIN_BYTES:
        raise IdentityError(
            f"reading a SPIFFE ID: a trust domain of {len(name)} bytes, at most {MAX_TRUST_DOMAIN_BYTES} are allowed"
        )
    if _TRUST_DOMAIN.fullmatch(name):
        return
    for mark, part in (("@", "user info"), (":", "a port"), ("%", "percent-encoding")):
        if mark in name:
            raise IdentityError(f"reading a SPIFFE ID: the trust domain {name!r} has {part}, which is not allowed")
    raise IdentityError(f"reading a SPIFFE ID: the trust domain {name!r} has more than a-z, 0-9, '.', '-' and '_'")


def _require_path(path: str) -> None:
    segments = path.split("/")[1:]
    if path[0] != "/":
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} does not begin with a slash")
    if segments[-1] == "":
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} ends with a slash")
    if "" in segments:
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} has an empty segment")
    if "." in segments or ".." in segments:
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} has a dot segment")
    if "%" in path:
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} has percent-encoding, which is not allowed")
    if not _PATH.fullmatch(path):
        raise IdentityError(f"reading a SPIFFE ID: the path {path!r} has more than a-z, A-Z, 0-9, '.', '-' and '_'")
