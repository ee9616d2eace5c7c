"""Whom a sidecar proves to be and until when, and the roots it believes in. Pure; the shape is Envoy's.

Source: Envoy `certs.proto` (`envoy.admin.v3.Certificates`).
"""

from __future__ import annotations

import time
from typing import Any

from cryptography import x509

from mesh.proxy.connection.secrets import Identity

DAY_S = 86_400


def certificates_of(identity: Identity | None) -> dict[str, Any]:
    """Return the page's JSON; without an identity there is no certificate to show."""
    if identity is None:
        return {"certificates": []}
    shown: dict[str, Any] = {
        "ca_cert": [certificate(root) for root in identity.bundle.roots],
        "cert_chain": [certificate(identity.leaf)],
        "meshyard": {
            "spiffe_id": identity.spiffe_id,
            "generation": identity.generation,
            "issuer": identity.leaf.issuer.rfc4514_string(),
            "seconds_left": round(identity.not_after.timestamp() - time.time()),
        },
    }
    return {"certificates": [shown]}


def certificate(one: x509.Certificate) -> dict[str, Any]:
    """Return one certificate's number, names and days."""
    left_s = one.not_valid_after_utc.timestamp() - time.time()
    return {
        "path": "<inline>",
        "serial_number": f"{one.serial_number:x}",
        "subject_alt_names": [{"uri": uri} for uri in _uris(one)],
        "days_until_expiration": str(max(0, int(left_s // DAY_S))),
        "valid_from": one.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expiration_time": one.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _uris(one: x509.Certificate) -> list[str]:
    try:
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
