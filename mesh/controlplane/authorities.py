"""The signing keys on disk: made once, read at each start, and never silently made again.

`<data_dir>/ca/root.pem`, and one file for each datacenter: certificate and key together, mode 0600, so that the pair is
replaced in one rename or not at all. The store remembers the fingerprint of each certificate. That makes a lost,
swapped or foreign file a refusal to start with one clear line: a control plane that helped itself to a new root would
put every workload out of the mesh.

An intermediate is renewed at half its life; leaves carry their intermediate with them, so nobody has to be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256

from mesh.base.errors import ConfigError, IdentityError, LocalProtocolError, Position
from mesh.ca.authority import Authority, SigningCa, make_intermediate, make_root
from mesh.controlplane.files import private_folder, read_private, write_durably
from mesh.controlplane.records import AUTHORITY
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.controlplane.store import Record

ROOT = "root"
_KEY_MARKER = b"-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Opened:
    """The authority, and what the store has to be told of it (nothing when it knew all)."""

    authority: Authority
    records: tuple[Record, ...]


def open_authority(settings: ControlPlaneSettings, known: Mapping[str, str], *, now: datetime) -> Opened:
    """Read the signing keys; make those that never existed; renew intermediates past half their life.

    Args:
        settings: trust domain, datacenters, lives, and the data folder.
        known: fingerprints from the store: `root` and one per datacenter.
        now: aware.

    Raises:
        ConfigError: a key that the store remembers is missing, readable by others, swapped or of another trust domain.
    """
    folder = private_folder(private_folder(settings.data_dir) / "ca")
    root = _read(folder, ROOT, known)
    if root is None:
        if known:
            raise ConfigError("opening the authority: the store knows intermediates but no root", Position(str(folder)))
        root = make_root(settings.trust_domain, now=now, ttl=timedelta(seconds=settings.root_ttl_s))
        _save(folder, ROOT, root)
    _require_domain(folder, root, settings.trust_domain)
    intermediates: dict[str, SigningCa] = {}
    for datacenter in settings.all_datacenters:
        found = _read(folder, datacenter, known)
        if found is None or _is_past_half(found, now):
            found = renew_intermediate(settings, root, datacenter, now=now)
        _require_issued_by(folder, datacenter, found, root)
        intermediates[datacenter] = found
    authority = Authority(settings.trust_domain, root, intermediates)
    return Opened(authority, records_of(authority, known))


def renew_due(settings: ControlPlaneSettings, authority: Authority, *, now: datetime) -> Authority:
    """Return the authority with every intermediate past half its life replaced; the same one when none is."""
    due = [name for name, ca in authority.intermediates.items() if _is_past_half(ca, now)]
    if not due:
        return authority
    fresh = {name: renew_intermediate(settings, authority.root, name, now=now) for name in due}
    return replace(authority, intermediates={**authority.intermediates, **fresh})


def renew_intermediate(settings: ControlPlaneSettings, root: SigningCa, datacenter: str, *, now: datetime) -> SigningCa:
    """Make and save an intermediate."""
    ca = make_intermediate(root, datacenter, now=now, ttl=timedelta(seconds=settings.intermediate_ttl_s))
    _save(settings.data_dir / "ca", datacenter, ca)
    return ca


def records_of(authority: Authority, known: Mapping[str, str]) -> tuple[Record, ...]:
    """Return the fingerprints that the store does not have yet."""
    current = {ROOT: authority.root, **authority.intermediates}
    found = {name: fingerprint(ca) for name, ca in current.items()}
    return tuple(Record(AUTHORITY, name, value) for name, value in found.items() if known.get(name) != value)


def fingerprint(ca: SigningCa) -> str:
    """Return the SHA-256 fingerprint of a signing certificate, in hex."""
    return ca.certificate.fingerprint(SHA256()).hex()


def _read(folder: Path, name: str, known: Mapping[str, str]) -> SigningCa | None:
    """Read one authority; None when it never existed."""
    path = folder / f"{name}.pem"
    if not path.exists():
        if name not in known:
            return None
        raise ConfigError(
            f"opening the authority {name!r}: it is missing, and the store says that there was one",
            Position(str(path)),
            right="the file from a backup; a new key would put every workload out of the mesh",
        )
    ca = _parse(path, name)
    if name in known and fingerprint(ca) != known[name] and not _is_renewed(folder, name, ca):
        raise ConfigError(
            f"opening the authority {name!r}: it is not the certificate that the store remembers",
            Position(str(path)),
            right=f"the certificate with the SHA-256 fingerprint {known[name]}",
        )
    return ca


def _parse(path: Path, name: str) -> SigningCa:
    certificate, marker, key = read_private(path).partition(_KEY_MARKER)
    try:
        return SigningCa.from_pem(certificate, marker + key)
    except LocalProtocolError as error:
        raise ConfigError(f"opening the authority {name!r}: {error}", Position(str(path))) from error


def _is_renewed(folder: Path, name: str, ca: SigningCa) -> bool:
    """Whether this is an intermediate saved just before a crash kept its fingerprint from the store.

    It is believed when our own root, which the store vouches for, has signed it for this datacenter.
    """
    if name == ROOT:
        return False
    return _is_issued_by(ca, _parse(folder / f"{ROOT}.pem", ROOT)) and f"intermediate {name}," in f"{ca.name},"


def _save(folder: Path, name: str, ca: SigningCa) -> None:
    write_durably(folder / f"{name}.pem", ca.certificate_pem() + ca.key_pem(), mode=0o600)


def _is_past_half(ca: SigningCa, now: datetime) -> bool:
    return now >= ca.not_before + (ca.not_after - ca.not_before) / 2


def _is_issued_by(ca: SigningCa, root: SigningCa) -> bool:
    try:
        ca.certificate.verify_directly_issued_by(root.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _require_issued_by(folder: Path, name: str, ca: SigningCa, root: SigningCa) -> None:
    if not _is_issued_by(ca, root):
        raise ConfigError(
            f"opening the authority {name!r}: our root did not issue it", Position(str(folder / f"{name}.pem"))
        )


def _require_domain(folder: Path, root: SigningCa, trust_domain: str) -> None:
    try:
        found = root.trust_domain
    except IdentityError as error:
        raise ConfigError(f"opening the authority: {error}", Position(str(folder / "root.pem"))) from error
    if found != trust_domain:
        raise ConfigError(
            f"opening the authority: the root is of the trust domain {found!r}, the settings say {trust_domain!r}",
            Position(str(folder / "root.pem")),
        )
