"""The store: records in SQLite, and the promise that what was acknowledged survives a kill -9 or a power cut.

- WAL with synchronous=FULL: a commit returns after the log is on disk.
- One process owns the file (exclusive locking); a second one is refused at its start.
- Each row carries a checksum, and the whole set a digest (the XOR of the checksums), written in the same transaction:
  a flipped bit or a lost row is a refusal to start, never a policy set with a hole in it.

A record is (table, key, value); the value is JSON text, None deletes. What records mean is `mesh.controlplane.state`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from mesh.base.errors import MeshError

APPLICATION_ID = 0x4D455348  # "MESH", so that another program's database is not taken for ours
SCHEMA_VERSION = 1
_DIGEST_BYTES = 16
_EMPTY_DIGEST = bytes(_DIGEST_BYTES)

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE records (
  tab TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (tab, key)
) WITHOUT ROWID;
CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), idx INTEGER NOT NULL, digest BLOB NOT NULL);
"""


class StoreError(MeshError):
    """The database cannot be used as it is; nothing was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row to write; `value` None deletes it."""

    table: str
    key: str
    value: str | None


class Store:
    """An open database. Its methods block on the disk: call them from one worker thread, never from the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = _EMPTY_DIGEST
        self._checksums: dict[tuple[str, str], bytes] = {}
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise StoreError(f"opening {path}: {error}") from error

    def load(self) -> tuple[int, list[Record]]:
        """Return the index and every record.

        Raises:
            StoreError: a row does not fit its checksum, or a row is missing.
        """
        try:
            rows = self._connection.execute("SELECT tab, key, value, checksum FROM records").fetchall()
            index, digest = self._connection.execute("SELECT idx, digest FROM progress").fetchone()
        except (sqlite3.Error, TypeError, UnicodeError) as error:
            raise StoreError(f"reading {self._path}: {error}") from error
        records = [Record(table, key, value) for table, key, value, _ in rows]
        self._checksums.clear()
        self._digest = _EMPTY_DIGEST
        for record, (*_, checksum) in zip(records, rows, strict=True):
            if _checksum(record) != checksum:
                raise StoreError(f"reading {self._path}: record {record.table}/{record.key} is damaged")
            self._remember(record)
        if self._digest != digest:
            raise StoreError(f"reading {self._path}: a record is missing or was changed by somebody else")
        return index, records

    def write(self, index: int, records: Sequence[Record]) -> None:
        """Write records and the new index, all or nothing; on return they are on disk.

        Raises:
            StoreError: the disk is full, read-only or gone; nothing was written.
        """
        digest_before = self._digest
        before: dict[tuple[str, str], bytes | None] = {}
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for record in records:
                key = (record.table, record.key)
                before.setdefault(key, self._checksums.get(key))
                self._write_row(record)
            self._connection.execute("UPDATE progress SET idx = ?, digest = ?", (index, self._digest))
            self._connection.execute("COMMIT")
        except (sqlite3.Error, UnicodeError) as error:
            self._forget_failed(digest_before, before)
            raise StoreError(f"writing {self._path}: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _prepare(self) -> None:
        """Check that the file is ours and whole, or make it."""
        one = self._scalar
        application, version = one("PRAGMA application_id"), one("PRAGMA user_version")
        is_new = one("SELECT count(*) FROM sqlite_master") == 0 and application == 0
        if not is_new and application != APPLICATION_ID:
            raise StoreError(f"opening {self._path}: it is a database, but not of a control plane")
        if not is_new and version != SCHEMA_VERSION:
            raise StoreError(
                f"opening {self._path}: its schema is version {version}, this program knows {SCHEMA_VERSION}"
            )
        self._connection.executescript(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        )
        if is_new:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self._connection.execute("INSERT INTO progress VALUES (1, 0, ?)", (_EMPTY_DIGEST,))
            self._connection.execute("COMMIT")
        else:
            self._connection.executescript("BEGIN IMMEDIATE; ROLLBACK;")  # takes the lock of the only owner
            verdict = one("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise StoreError(f"opening {self._path}: the database is damaged: {verdict}")

    def _scalar(self, statement: str) -> object:
        row = self._connection.execute(statement).fetchone()
        return row[0] if row else None

    def _write_row(self, record: Record) -> None:
        if record.value is None:
            self._connection.execute("DELETE FROM records WHERE tab = ? AND key = ?", (record.table, record.key))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
                (record.table, record.key, record.value, _checksum(record)),
            )
        self._remember(record)

    def _remember(self, record: Record) -> None:
        key = (record.table, record.key)
        self._digest = _xor(self._digest, self._checksums.pop(key, _EMPTY_DIGEST))
        if record.value is not None:
            self._checksums[key] = _checksum(record)
            self._digest = _xor(self._digest, self._checksums[key])

    def _forget_failed(self, digest: bytes, before: dict[tuple[str, str], bytes | None]) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._digest = digest
        for key, checksum in before.items():
            self._checksums.pop(key, None)
            if checksum is not None:
                self._checksums[key] = checksum


def _checksum(record: Record) -> bytes:
    content: Iterable[str] = (record.table, record.key, record.value or "")
    return blake2b("\0".join(content).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
