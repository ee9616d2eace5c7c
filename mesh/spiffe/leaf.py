"""The rules of a leaf: what makes a certificate an X.509-SVID that may authenticate a workload.

The verifier obeys the list that issuers have to obey (X509-SVID.md sections 3 to 5), which is stricter than the list
of validators: a certificate of our own that breaks it was not made by our authority.
"""

from __future__ import annotations

from mesh.base.errors import IdentityError
from mesh.spiffe.certificate import OpenedCertificate, refuse, require_both_purposes
from mesh.spiffe.id import SpiffeId


def require_leaf(leaf: OpenedCertificate) -> SpiffeId:
    """Return the SPIFFE ID that a well-formed leaf names. That it is *true* is for the chain to prove.

    Raises:
        IdentityError: the certificate is not an X.509-SVID leaf; the message names the fault.
    """
    identity = require_one_id(leaf)
    _require_not_a_signer(leaf)
    _require_usage(leaf)
    require_both_purposes(leaf)
    if not leaf.subject.rdns and not leaf.is_san_critical:
        raise refuse(leaf.role, "the subject is empty and the subject alternative name is not critical")
    return identity


def require_one_id(leaf: OpenedCertificate) -> SpiffeId:
    """Return the one SPIFFE ID of a leaf. The common name and all other kinds of names say nothing.

    Raises:
        IdentityError: no URI SAN, several, or one that is not a workload's SPIFFE ID in its canonical spelling.
    """
    if len(leaf.uris) != 1:
        raise refuse(leaf.role, f"{len(leaf.uris)} URI SANs, an X.509-SVID has exactly one")
    try:
        identity = SpiffeId.parse(leaf.uris[0])
    except IdentityError as error:
        raise refuse(leaf.role, str(error)) from error
    if str(identity) != leaf.uris[0]:
        # Others compare byte for byte (Envoy does): a second spelling of one identity is never let in.
        raise refuse(leaf.role, f"{leaf.uris[0]!r} is not the canonical spelling {identity}")
    if not identity.path:
        raise refuse(leaf.role, f"{identity} is a trust domain, a workload's SPIFFE ID has a path")
    return identity


def _require_not_a_signer(leaf: OpenedCertificate) -> None:
    if leaf.basic_constraints is None:
        raise refuse(leaf.role, "no basic constraints, an X.509-SVID says cA false")
    if leaf.is_ca:
        raise refuse(leaf.role, "cA is true, a signing certificate never authenticates")
    if leaf.has_name_constraints:
        raise refuse(leaf.role, "name constraints in a certificate that is not a CA")


def _require_usage(leaf: OpenedCertificate) -> None:
    usage = leaf.key_usage
    if usage is None:
        raise refuse(leaf.role, "no key usage, an X.509-SVID has it and marks it critical")
    if usage.key_cert_sign or usage.crl_sign:
        raise refuse(leaf.role, "key usage has keyCertSign or cRLSign, those are for signing certificates")
    if not usage.digital_signature:
        raise refuse(leaf.role, "key usage lacks digitalSignature")
    if not leaf.is_key_usage_critical:
        raise refuse(leaf.role, "key usage is not critical")
