"""An X.509-SVID as its owner holds it: the chain it shows and the private key it never shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mesh.base.errors import IdentityError
from mesh.spiffe.certificate import open_certificate
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.leaf import require_leaf


@dataclass(frozen=True, slots=True)
class X509Svid:
    """Chain (leaf first) and key of one workload. The key stays out of `repr`, so out of logs and tracebacks."""

    spiffe_id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKeyTypes = field(repr=False)

    @classmethod
    def from_der(cls, chain_der: Sequence[bytes], private_key: PrivateKeyTypes) -> X509Svid:
        """Take what an authority issued. That it is valid *now* is for `verify_peer`.

        Raises:
            IdentityError: the leaf is no X.509-SVID, or it belongs to another key.
        """
        if not chain_der:
            raise IdentityError("reading an issued SVID: no certificate in it")
        opened = [open_certificate("leaf" if n == 0 else f"intermediate {n}", der) for n, der in enumerate(chain_der)]
        if _public(opened[0].certificate.public_key()) != _public(private_key.public_key()):
            raise IdentityError("reading an issued SVID: the leaf is for another key than ours")
        return cls(require_leaf(opened[0]), tuple(each.certificate for each in opened), private_key)

    @property
    def not_before(self) -> datetime:
        """Return when the leaf begins to be valid (backdated by the issuer)."""
        return self.chain[0].not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Return when the first certificate of the chain expires."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def serial(self) -> int:
        """Return the serial number of the leaf."""
        return self.chain[0].serial_number

    def chain_pem(self) -> bytes:
        """Write the chain as PEM, leaf first (SDS, ssl)."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    def chain_der(self) -> bytes:
        """Write the chain as one run of DER, leaf first (Workload API)."""
        return b"".join(certificate.public_bytes(Encoding.DER) for certificate in self.chain)

    def key_pem(self) -> bytes:
        """Write the private key as unencrypted PKCS#8 PEM. It goes to the agent's socket and nowhere else."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def key_der(self) -> bytes:
        """Write the private key as unencrypted PKCS#8 DER. It goes to the agent's socket and nowhere else."""
        return self.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _public(key: object) -> bytes:
    """Return the SubjectPublicKeyInfo, by which two keys of any kind compare."""
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return bytes(encoded)
