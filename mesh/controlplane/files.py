"""Files that must be whole and private: written beside, flushed, renamed; refused when others could read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mesh.base.errors import ConfigError, Position


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that after a crash it is either the old one or the new one, never half.

    The file and its folder are both flushed: without the second the rename itself may be lost.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """Read a file that nobody else may read.

    Raises:
        ConfigError: it is missing, not a plain file, not ours, or its mode lets others in.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigError(f"reading a private file: {error.strerror}", Position(str(path))) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
            raise ConfigError(
                f"reading a private file: its mode is {mode:04o} and its owner {found.st_uid}",
                Position(str(path)),
                right=f"mode 0600 and owner {os.geteuid()}",
            )
        return file.read()


def private_folder(path: Path) -> Path:
    """Make a folder that only we may enter, or check that it is one.

    Raises:
        ConfigError: it cannot be made, or others may write into it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"opening the data folder: {error.strerror}", Position(str(path))) from error
    if mode & 0o022:
        raise ConfigError(
            f"opening the data folder: its mode is {mode:04o}, others may write into it",
            Position(str(path)),
            right="mode 0700",
        )
    return path
