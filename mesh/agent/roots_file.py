"""The roots that this host learned, on disk: with them it finds back to the control plane after a restart.

The roots that the operator left on the host grow old: after a rotation they prove nothing any more. So the agent keeps
what it learned, and a join believes the newer of the two files.
"""

from __future__ import annotations

from pathlib import Path

from mesh.agent.files import write_atomically
from mesh.agent.settings import AgentSettings


def roots_for_join(settings: AgentSettings) -> bytes:
    """Return the roots that prove the control plane at a join, as PEM: the operator's, or those learned since.

    Raises:
        OSError: the operator's file cannot be read, and nothing was learned.
    """
    given, learned = settings.roots_file, path_of(settings)
    if learned.exists() and (not given.exists() or learned.stat().st_mtime_ns > given.stat().st_mtime_ns):
        return learned.read_bytes()
    return given.read_bytes()


def keep(settings: AgentSettings, pem: bytes) -> None:
    """Keep roots, unless they are those that are kept already: an old copy must not look new.

    Raises:
        OSError: the disk is full, or the folder is not ours.
    """
    path = path_of(settings)
    if not path.exists() or path.read_bytes() != pem:
        write_atomically(path, pem.decode("ascii"))


def path_of(settings: AgentSettings) -> Path:
    """Return where the agent keeps the roots it learned."""
    return settings.state_dir / "learned-roots.pem"
