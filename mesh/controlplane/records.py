"""What is kept, as values, and each value as a record of the store and back.

| table | key | value |
|---|---|---|
| config | `<kind>/<name>` | a config entry, with the file and line it came from |
| instance | `<host>/<id>` | an instance with its checks |
| name | service | its virtual address |
| token | hash of the token | what a join token is bound to; the token itself is kept nowhere |
| rejoin | `<service>/<host>` | the line of rejoin secrets: digests only |
| issued | serial number | whose certificate that is, on which host |
| authority | `root` or datacenter, `2/root` ... of later generations | fingerprint, so that lost keys are noticed |
| rotation | `root` | which generation is in which slot, and since when |
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mesh.base.errors import LocalProtocolError
from mesh.ca.rejoin import RejoinLine
from mesh.ca.rotation import Stage
from mesh.ca.tokens import JoinToken
from mesh.config.entries import KIND_OF, ConfigEntry, ServiceDefinition
from mesh.config.stored import from_json, to_json
from mesh.controlplane.store import Record
from mesh.registry.catalog import Check, Instance
from mesh.registry.health import CheckStatus

CONFIG, INSTANCE, NAME, TOKEN, ISSUED, AUTHORITY = "config", "instance", "name", "token", "issued", "authority"
ROTATION, REJOIN = "rotation", "rejoin"

EntryKey = tuple[str, str]  # kind, name


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A config entry in force and the index at which it was written."""

    entry: ConfigEntry
    index: int

    @property
    def key(self) -> EntryKey:
        """Return kind and name."""
        return key_of(self.entry)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """To whom a serial number was given.

    `generation` numbers the root above it; `life` is the serial number of the first certificate of that agent's life, 0
    where it is not known.
    """

    serial: int
    service: str
    host: str
    datacenter: str
    not_after: datetime
    generation: int = 1
    life: int = 0


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A join token as it is kept; `datacenter` and `address` are what it is bound to, empty for nothing."""

    token: JoinToken
    datacenter: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """The slots of the root as they are kept: generations by number, the first root is 1.

    `highest` is the highest number that was ever in a slot: no number is used twice, so that a key found on disk is
    known to be past or unheard of.
    """

    stage: Stage = Stage.ACTIVE
    current: int = 1
    next: int | None = None
    highest: int = 1
    last_leaf_not_after: datetime | None = None
    since: datetime | None = None  # of the stage

    @property
    def old(self) -> int | None:
        """Return the generation that signs no more and is trusted still."""
        return self.next if self.stage is Stage.ACTIVE_AND_OLD else None

    @property
    def prepared(self) -> int | None:
        """Return the generation that is trusted and does not sign yet."""
        return self.next if self.stage is Stage.ACTIVE_AND_PREPARED else None


def key_of(entry: ConfigEntry) -> EntryKey:
    """Return an entry's kind and name."""
    return KIND_OF[type(entry)], entry.name


def entry_record(stored: StoredEntry) -> Record:
    """Write an entry."""
    value = {"entry": to_json(stored.entry), "index": stored.index}
    return Record(CONFIG, "/".join(stored.key), json.dumps(value))


def entry_from(value: str) -> StoredEntry:
    """Read what `entry_record` wrote."""
    data = json.loads(value)
    entry = from_json(data["entry"])
    if isinstance(entry, ServiceDefinition):
        raise LocalProtocolError(f"reading a stored entry: {entry.name} is a service definition, those are not stored")
    return StoredEntry(entry, data["index"])


def instance_record(instance: Instance) -> Record:
    """Write an instance."""
    return Record(INSTANCE, instance.id, json.dumps(asdict(instance)))


def instance_from(value: str) -> Instance:
    """Read what `instance_record` wrote."""
    data: dict[str, Any] = json.loads(value)
    checks = tuple(Check(**{**check, "status": CheckStatus(check["status"])}) for check in data.pop("checks"))
    return Instance(**{**data, "tags": tuple(data["tags"]), "checks": checks})


def issued_record(issued: IssuedCertificate) -> Record:
    """Write to whom a serial number was given."""
    return Record(ISSUED, str(issued.serial), json.dumps({**asdict(issued), "not_after": issued.not_after.isoformat()}))


def issued_from(value: str) -> IssuedCertificate:
    """Read what `issued_record` wrote."""
    data = json.loads(value)
    return IssuedCertificate(**{**data, "not_after": datetime.fromisoformat(data["not_after"])})


def token_record(kept: TokenRecord) -> Record:
    """Write what a token is bound to."""
    token = kept.token
    used_at = token.used_at.isoformat() if token.used_at else None
    value = {**asdict(token), "expires_at": token.expires_at.isoformat(), "used_at": used_at}
    return Record(
        TOKEN, token.digest, json.dumps({"token": value, "datacenter": kept.datacenter, "address": kept.address})
    )


def token_from(value: str) -> TokenRecord:
    """Read what `token_record` wrote."""
    data = json.loads(value)
    fields = data["token"]
    used_at = datetime.fromisoformat(fields["used_at"]) if fields["used_at"] else None
    fields |= {"expires_at": datetime.fromisoformat(fields["expires_at"]), "used_at": used_at}
    return TokenRecord(JoinToken(**fields), data["datacenter"], data.get("address", ""))


def rejoin_key(service: str, host: str) -> str:
    """Return whose line of rejoin secrets it is; labels have no slash."""
    return f"{service}/{host}"


def rejoin_record(line: RejoinLine) -> Record:
    """Write a line of rejoin secrets."""
    revoked_at = line.revoked_at.isoformat() if line.revoked_at else None
    value = {**asdict(line), "expires_at": line.expires_at.isoformat(), "revoked_at": revoked_at}
    return Record(REJOIN, rejoin_key(line.service, line.host), json.dumps(value))


def rejoin_from(value: str) -> RejoinLine:
    """Read what `rejoin_record` wrote."""
    data = json.loads(value)
    revoked_at = datetime.fromisoformat(data["revoked_at"]) if data["revoked_at"] else None
    data |= {"expires_at": datetime.fromisoformat(data["expires_at"]), "revoked_at": revoked_at}
    return RejoinLine(**{**data, "used": tuple(data["used"])})


def rotation_record(kept: RotationRecord) -> Record:
    """Write the slots of the root."""
    dates = {name: value.isoformat() if value else None for name, value in _dates_of(kept).items()}
    return Record(ROTATION, "root", json.dumps({**asdict(kept), "stage": kept.stage.name, **dates}))


def rotation_from(value: str) -> RotationRecord:
    """Read what `rotation_record` wrote."""
    data = json.loads(value)
    data["stage"] = Stage[data["stage"]]
    for name in ("last_leaf_not_after", "since"):
        data[name] = datetime.fromisoformat(data[name]) if data[name] else None
    return RotationRecord(**data)


def _dates_of(kept: RotationRecord) -> dict[str, datetime | None]:
    return {"last_leaf_not_after": kept.last_leaf_not_after, "since": kept.since}
