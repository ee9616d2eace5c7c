"""The signing keys on disk: made once, read at each start, and never silently made again.

One folder holds each *generation*, a root and its intermediates: `<data_dir>/ca/` the first, `ca/2/` the second. In it
stand `root.pem` and one file for each datacenter: certificate and key together, mode 0600, so that the pair is replaced
in one rename or not at all. Files never move between folders; which generation signs is a record in the store, and that
is why a rotation cut short at any point is either not begun or done.

The store remembers the fingerprint of each certificate. That makes a lost, swapped or foreign file a refusal to start
with one clear line: a control plane that helped itself to a new root would put every workload out of the mesh.

An intermediate is renewed at half its life; leaves carry their intermediate with them, so nobody has to be told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256

from mesh.base.errors import ConfigError, IdentityError, LocalProtocolError, Position
from mesh.ca.authority import Authority, SigningCa, make_intermediate, make_root
from mesh.controlplane.files import flush_folder, private_folder, read_private, write_durably
from mesh.controlplane.records import AUTHORITY, RotationRecord
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.controlplane.store import Record

log = logging.getLogger("mesh.controlplane.ca")

ROOT = "root"
FIRST = 1
_KEY_MARKER = b"-----BEGIN PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Opened:
    """The generations in the slots, and what the store has to be told of them (nothing when it knew all)."""

    generations: dict[int, Authority]
    records: tuple[Record, ...]


def open_authorities(
    settings: ControlPlaneSettings, known: Mapping[str, str], rotation: RotationRecord | None = None, *, now: datetime
) -> Opened:
    """Read the signing keys; make those that never existed; renew intermediates past half their life.

    Args:
        settings: trust domain, datacenters, lives, and the data folder.
        known: fingerprints from the store, by `store_key`.
        rotation: which generations are in the slots; None for the first alone.
        now: aware.

    Raises:
        ConfigError: a key that the store remembers is missing, readable by others, swapped or of another trust domain.
    """
    slots = rotation or RotationRecord()
    private_folder(settings.data_dir)
    private_folder(settings.data_dir / "ca")
    generations = {
        number: _open(settings, number, known, now, renew=number != slots.old)
        for number in (slots.current, slots.next)
        if number is not None
    }
    _tidy(settings, slots)
    records = [record for number, held in generations.items() for record in records_of(number, held, known)]
    return Opened(generations, tuple(records))


def make_generation(settings: ControlPlaneSettings, number: int, *, now: datetime) -> Authority:
    """Make and save a root and its intermediates; what an earlier attempt left under the number goes."""
    discard_generation(settings, number)
    folder = private_folder(folder_of(settings, number))
    root = make_root(settings.trust_domain, now=now, ttl=timedelta(seconds=settings.root_ttl_s))
    _save(folder, ROOT, root)
    made = {name: _new_intermediate(settings, folder, root, name, now) for name in settings.all_datacenters}
    flush_folder(settings.data_dir / "ca")
    return Authority(settings.trust_domain, root, made)


def discard_generation(settings: ControlPlaneSettings, number: int) -> None:
    """Remove the keys of a generation; those that are gone already are no error."""
    folder = folder_of(settings, number)
    if not folder.exists():
        return
    for path in (*folder.glob("*.pem"), *folder.glob("*.pem.new")):
        path.unlink(missing_ok=True)
    flush_folder(folder)
    if number != FIRST:
        folder.rmdir()
        flush_folder(folder.parent)


def renew_due(settings: ControlPlaneSettings, number: int, authority: Authority, *, now: datetime) -> Authority:
    """Return the authority with every intermediate past half its life replaced; the same one when none is."""
    due = [name for name, ca in authority.intermediates.items() if _is_past_half(ca, now)]
    if not due:
        return authority
    folder = folder_of(settings, number)
    fresh = {name: _new_intermediate(settings, folder, authority.root, name, now) for name in due}
    return replace(authority, intermediates={**authority.intermediates, **fresh})


def records_of(number: int, authority: Authority, known: Mapping[str, str]) -> tuple[Record, ...]:
    """Return the fingerprints of a generation that the store does not have yet."""
    current = {ROOT: authority.root, **authority.intermediates}
    found = {store_key(number, name): fingerprint(ca) for name, ca in current.items()}
    return tuple(Record(AUTHORITY, key, value) for key, value in found.items() if known.get(key) != value)


def forgetting(number: int, known: Mapping[str, str]) -> tuple[Record, ...]:
    """Return the records that make the store forget a generation."""
    mine = [key for key in known if generation_of(key) == number]
    return tuple(Record(AUTHORITY, key, None) for key in sorted(mine))


def store_key(number: int, name: str) -> str:
    """Return under which key the store has a fingerprint; the first generation has no number in it."""
    return name if number == FIRST else f"{number}/{name}"


def generation_of(key: str) -> int:
    """Return which generation a key of the store is of."""
    number, slash, _ = key.partition("/")
    return int(number) if slash else FIRST


def folder_of(settings: ControlPlaneSettings, number: int) -> Path:
    """Return the folder of a generation."""
    ca = settings.data_dir / "ca"
    return ca if number == FIRST else ca / str(number)


def fingerprint(ca: SigningCa) -> str:
    """Return the SHA-256 fingerprint of a signing certificate, in hex."""
    return ca.certificate.fingerprint(SHA256()).hex()


def _open(
    settings: ControlPlaneSettings, number: int, known: Mapping[str, str], now: datetime, *, renew: bool
) -> Authority:
    """Read one generation; the first one is made when the store knows of none."""
    folder = private_folder(folder_of(settings, number))
    expected = {key.rpartition("/")[2]: value for key, value in known.items() if generation_of(key) == number}
    root = _read(folder, ROOT, expected)
    if root is None:
        if known or number != FIRST:
            raise ConfigError("opening the authority: the store knows intermediates but no root", Position(str(folder)))
        root = make_root(settings.trust_domain, now=now, ttl=timedelta(seconds=settings.root_ttl_s))
        _save(folder, ROOT, root)
    _require_domain(folder, root, settings.trust_domain)
    intermediates: dict[str, SigningCa] = {}
    for datacenter in settings.all_datacenters:
        found = _read(folder, datacenter, expected)
        if renew and (found is None or _is_past_half(found, now)):
            found = _new_intermediate(settings, folder, root, datacenter, now)
        if found is not None:
            _require_issued_by(folder, datacenter, found, root)
            intermediates[datacenter] = found
    return Authority(settings.trust_domain, root, intermediates)


def _tidy(settings: ControlPlaneSettings, slots: RotationRecord) -> None:
    """Remove the keys of generations that the store has left behind, as after a crash between record and removal.

    Keys of a higher number than the store has ever heard of stay: they are those of a `prepare` that was cut short
    (the next one takes their place), or the store is an old copy and they are the ones in force.
    """
    ca = settings.data_dir / "ca"
    numbers = [int(path.name) for path in ca.iterdir() if path.is_dir() and path.name.isdecimal()]
    for number in {*numbers, FIRST} - {slots.current, slots.next}:
        if number > slots.highest:
            log.warning("keys of an authority that the store does not know", extra={"folder": str(ca / str(number))})
        else:
            discard_generation(settings, number)


def _new_intermediate(
    settings: ControlPlaneSettings, folder: Path, root: SigningCa, datacenter: str, now: datetime
) -> SigningCa:
    """Make and save an intermediate."""
    ca = make_intermediate(root, datacenter, now=now, ttl=timedelta(seconds=settings.intermediate_ttl_s))
    _save(folder, datacenter, ca)
    return ca


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
