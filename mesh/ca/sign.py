"""From a CSR to an X.509-SVID: build, sign, validate.

Build: everything in the leaf comes from the authority (name, dates, usages); the CSR gives the public key. Sign: with
the datacenter's intermediate. Validate: the verifier that every peer uses looks at the result before it leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.ca.authority import BACKDATE, SigningCa, key_usage, require_in_force
from mesh.ca.csr import require_modest, validate_csr
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.verify import verify_peer


def sign_leaf(
    csr_der: bytes,
    identity: SpiffeId,
    ca: SigningCa,
    *,
    now: datetime,
    ttl: timedelta,
    dns_names: Sequence[str] = (),
    addresses: Sequence[IPv4Address] = (),
) -> tuple[bytes, ...]:
    """Issue an X.509-SVID.

    Args:
        csr_der: proves the key; its names must be none or exactly `identity`.
        identity: who the caller has *proven* to be.
        ca: the intermediate of the caller's datacenter.
        now: aware.
        ttl: asked for; the leaf never outlives `ca`. It begins 60 s before `now`.
        dns_names, addresses: extra SANs that the authority decided on (the control plane's own certificate has them).

    Returns:
        DER, leaf first, then the certificate of `ca`.

    Raises:
        IdentityError: the CSR is bad or asks for more, or `identity` is not a workload of the authority's domain.
        LocalProtocolError: the authority is not in force or made a certificate that peers would refuse.

    Source: X509-SVID.md sections 3 and 4 (what an issuer must put in).
    """
    if not identity.path:
        raise IdentityError(f"issuing an SVID: {identity} is a trust domain, not a workload")
    if identity.trust_domain != ca.trust_domain:
        raise IdentityError(f"issuing an SVID: {identity} is not of the trust domain {ca.trust_domain}")
    csr = validate_csr(csr_der)
    require_modest(csr, identity)
    require_in_force(ca, now)
    if ttl <= timedelta(0):
        raise LocalProtocolError(f"issuing an SVID: a life of {ttl} is none")
    extra = [*map(x509.DNSName, dns_names), *map(x509.IPAddress, addresses)]
    leaf = _build(csr, identity, ca, now=now, ttl=ttl, extra=extra).sign(ca.private_key, SHA256())
    leaf_der = leaf.public_bytes(Encoding.DER)
    _validate(leaf_der, identity, ca, now)
    return (leaf_der, ca.certificate_der())


def _build(
    csr: x509.CertificateSigningRequest,
    identity: SpiffeId,
    ca: SigningCa,
    *,
    now: datetime,
    ttl: timedelta,
    extra: Sequence[x509.GeneralName],
) -> x509.CertificateBuilder:
    names = [x509.UniformResourceIdentifier(str(identity)), *extra]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    key = csr.public_key()
    issuer_key = ca.private_key.public_key()
    return (
        x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=ca.certificate.subject, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, ca.not_before))
        .not_valid_after(min(now + ttl, ca.not_after))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)  # critical: the subject is empty
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _validate(leaf_der: bytes, identity: SpiffeId, ca: SigningCa, now: datetime) -> None:
    """Look at the new leaf as a peer would, with our own intermediate as the anchor."""
    try:
        anchor = TrustBundle(identity.trust_domain, (ca.certificate,))
        verify_peer((leaf_der,), anchor, now=now, expected=frozenset({str(identity)}))
    except IdentityError as error:
        raise LocalProtocolError(f"issuing an SVID for {identity}: peers would refuse it: {error}") from error
