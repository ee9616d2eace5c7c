"""A certificate signing request: proof that somebody holds a key, and nothing else.

What a CSR *asks for* is not evidence. The identity in the certificate is the one its sender proved on the way here
(a join token, or the certificate of the connection); a CSR that asks for something else is refused rather than
quietly corrected, because somebody on the other side is either confused or lying.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.base.errors import IdentityError
from mesh.spiffe.certificate import weakness_of
from mesh.spiffe.id import SpiffeId

MAX_CSR_BYTES = 16 * 1024


def make_csr(private_key: ec.EllipticCurvePrivateKey, identity: SpiffeId | None = None) -> bytes:
    """Make the CSR of a workload, in DER.

    Args:
        private_key: signs it, and stays here.
        identity: written in as the URI SAN when given; the authority takes either form.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if identity is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(private_key, SHA256()).public_bytes(Encoding.DER)


def validate_csr(csr_der: bytes) -> x509.CertificateSigningRequest:
    """Check that a CSR is well formed, that its sender holds the key, and that the key is strong.

    Raises:
        IdentityError: too large, malformed, bad signature, weak key.
    """
    if len(csr_der) > MAX_CSR_BYTES:
        raise _refuse(f"{len(csr_der)} bytes, at most {MAX_CSR_BYTES} are allowed")
    try:
        csr = x509.load_der_x509_csr(csr_der)
        key, is_signed = csr.public_key(), csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _refuse(f"malformed: {error}") from error
    if not is_signed:
        raise _refuse("its signature does not hold, so the sender did not prove to have the key")
    if fault := weakness_of(key):
        raise _refuse(fault)
    return csr


def require_modest(csr: x509.CertificateSigningRequest, identity: SpiffeId) -> None:
    """Check that a CSR asks for nothing but the identity that its sender proved (or for nothing at all).

    Raises:
        IdentityError: it asks for another name, a second one, or to be an authority.
    """
    try:
        extensions = {type(extension.value): extension.value for extension in csr.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise _refuse(f"malformed extensions: {error}") from error
    basic, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        raise _refuse("asks for cA true, workloads get leaves")
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or usage.crl_sign):
        raise _refuse("asks for keyCertSign or cRLSign, workloads get leaves")
    san = extensions.get(x509.SubjectAlternativeName)
    if isinstance(san, x509.SubjectAlternativeName):
        _require_own_name(san, identity)


def _require_own_name(san: x509.SubjectAlternativeName, identity: SpiffeId) -> None:
    asked = [f"{type(name).__name__} {name.value}" for name in san]
    if list(san) != [x509.UniformResourceIdentifier(str(identity))]:
        raise _refuse(f"asks for {', '.join(asked) or 'an empty name'}, the sender proved to be {identity}"[:1000])


def _refuse(fault: str) -> IdentityError:
    return IdentityError(f"checking a CSR: {fault}")
