"""The rules of issuers: a walk from a leaf up to a root that the bundle already holds.

The walk is linear: certificate n+1 of the presented chain must have signed certificate n, and a root of the bundle the
last one. There is no path building (no guessing among alternatives, no downloading), so the cost is bounded by
`MAX_CHAIN` signatures. A root that the peer sends is worth nothing; only the copy in the bundle vouches.

Why not `cryptography.x509.verification`? It can be taught to take such leaves, but says "candidates exhausted" where
a person needs to read which rule was broken, and remembers nothing between connections. A test holds that whatever this
walk accepts, that verifier accepts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from mesh.base.errors import IdentityError
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.certificate import (
    OpenedCertificate,
    open_certificate,
    refuse,
    require_both_purposes,
    require_in_force,
)
from mesh.spiffe.id import SpiffeId

MAX_CHAIN = 5  # leaf and intermediates as presented; ours have two


@dataclass(frozen=True, slots=True)
class IssuerPath:
    """Intermediates (the leaf's own issuer first) and the root, proven to belong together; dates are for each use."""

    issuers: tuple[OpenedCertificate, ...]

    def require_in_force(self, now: datetime) -> None:
        """Check the dates of every issuer.

        Raises:
            IdentityError: one is expired or not valid yet.
        """
        for issuer in self.issuers:
            require_in_force(issuer, now)


def prove_issuers(leaf: OpenedCertificate, intermediates: Sequence[bytes], bundle: TrustBundle) -> IssuerPath:
    """Walk from the leaf's issuer up to a root of the bundle; dates are not looked at here.

    Args:
        leaf: only its issuer's name is used, and only when there are no intermediates.
        intermediates: DER, the leaf's issuer first.
        bundle: whose roots may end the walk.

    Raises:
        IdentityError: the walk breaks; the message names the certificate and the rule.

    Source: RFC 5280 section 6.1, without policies, CRLs and name constraints (which are refused).
    """
    opened = [open_certificate(f"intermediate {n}", der) for n, der in enumerate(intermediates, 1)]
    for below, issuer in enumerate(opened):
        _require_issuer(issuer, intermediates_below=below, bundle=bundle)
    for issued, issuer in pairwise(opened):
        require_signed_by(issued, issuer)
    root = _find_root(opened[-1] if opened else leaf, bundle)
    _require_issuer(root, intermediates_below=len(opened), bundle=bundle)
    return IssuerPath((*opened, root))


def require_signed_by(issued: OpenedCertificate, issuer: OpenedCertificate) -> None:
    """Check that `issuer` signed `issued`: the names join, the signature holds.

    Raises:
        IdentityError: it did not.
    """
    if _is_signed_by(issued.certificate, issuer.certificate):
        return
    if issued.issuer != issuer.subject:
        name = issued.issuer.rfc4514_string()
        raise refuse(issued.role, f"was issued by {name!r}, which is not the name of the {issuer.role}")
    raise refuse(issued.role, f"its signature does not hold under the key of the {issuer.role}")


def _is_signed_by(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Compare the names and check the signature; both have to hold."""
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _find_root(top: OpenedCertificate, bundle: TrustBundle) -> OpenedCertificate:
    """Return the root that signed the uppermost presented certificate, or that it is itself."""
    same_name = [root for root in bundle.roots if root.subject == top.issuer]
    for root in same_name:
        if _is_signed_by(top.certificate, root):
            return open_certificate("root", root)
    if top.issuer == top.subject:
        raise refuse(top.role, f"self-signed, and not a root of {bundle.trust_domain}")
    fault = "signed by another key than the root of that name" if same_name else "by nobody the bundle knows"
    name = top.issuer.rfc4514_string()
    raise refuse(top.role, f"issued by {name!r}, {fault} (trust domain {bundle.trust_domain})")


def _require_issuer(issuer: OpenedCertificate, *, intermediates_below: int, bundle: TrustBundle) -> None:
    """Check what makes a certificate a signing certificate.

    `intermediates_below` counts the intermediates between this certificate and the leaf, which pathLen limits.
    """
    if issuer.basic_constraints is None or not issuer.is_ca:
        raise refuse(issuer.role, "is not a CA (cA is not true), it cannot issue")
    if issuer.key_usage is None or not issuer.key_usage.key_cert_sign:
        raise refuse(issuer.role, "key usage lacks keyCertSign, it cannot issue")
    limit = issuer.basic_constraints.path_length
    if limit is not None and intermediates_below > limit:
        raise refuse(issuer.role, f"pathLen {limit} allows {limit} intermediates below it, found {intermediates_below}")
    if issuer.has_name_constraints:
        raise refuse(issuer.role, "name constraints are not evaluated here, so it is not believed")
    if issuer.fingerprint in bundle.revoked:
        raise refuse(issuer.role, "revoked")
    require_both_purposes(issuer)
    _require_authority_id(issuer, bundle.trust_domain)


def _require_authority_id(issuer: OpenedCertificate, trust_domain: str) -> None:
    """A signing certificate may name its trust domain, and nothing more (X509-SVID.md section 3.2)."""
    if not issuer.uris:
        return
    try:
        identity = SpiffeId.parse(issuer.uris[0])
    except IdentityError as error:
        raise refuse(issuer.role, str(error)) from error
    if len(issuer.uris) > 1 or identity.path or identity.trust_domain != trust_domain:
        raise refuse(issuer.role, f"names {', '.join(issuer.uris)}, a signing certificate names only its trust domain")
