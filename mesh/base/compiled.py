"""The data path translated to machine code, taken in place of its Python form where MESH_COMPILED names a folder of it.

The Python form is the one that is read, changed and shown equal: every test of the data path runs on both. What is
translated is the same files, by mypyc (`lab/compiled.py`); what was made of other files is refused, so that nobody
changes a line and wonders why nothing happens.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from mesh.base.errors import ConfigError

VARIABLE = "MESH_COMPILED"
MANIFEST = "manifest.json"
# What a request passes through, below the checkout. Listeners, xDS and the pages of the admin port stay Python.
TRANSLATED = (
    "mesh/proxy/http/*.py",
    "mesh/proxy/policy/*.py",
    "mesh/proxy/filters/*.py",
    "mesh/proxy/connection/*.py",
    "mesh/proxy/tables/match.py",
    "mesh/proxy/tables/model.py",
    "mesh/proxy/tables/rbac.py",
    "mesh/proxy/tables/routes.py",
    "mesh/proxy/shell/access_log.py",
    "mesh/proxy/shell/report.py",
    "mesh/telemetry/accesslog.py",
    "mesh/telemetry/metrics.py",
    "mesh/telemetry/trace.py",
)


def suffix() -> str:
    """Return how the name of a compiled module ends for this very Python: `.cpython-311-x86_64-linux-gnu.so`."""
    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def sources(root: Path) -> list[Path]:
    """Return the files that are translated, below the folder that has the package `mesh`."""
    found = {path for pattern in TRANSLATED for path in root.glob(pattern)}
    return sorted(path for path in found if path.name != "__init__.py")


def fingerprint(root: Path) -> str:
    """Return a digest of what the machine code is made of: these files, for this Python."""
    digest = hashlib.sha256(suffix().encode())
    for path in sources(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def use(folder: Path, *, root: Path | None = None) -> None:
    """Have the modules of a folder imported from now on instead of their Python form.

    Args:
        folder: the machine code, and a manifest that says of what it was made.
        root: the folder that has the package `mesh`; by default that of this file.

    Raises:
        ConfigError: it is no such folder, it was made of other files or for another Python, or the Python form is
            imported already.
    """
    root = root or Path(__file__).resolve().parents[2]
    try:
        made_of = json.loads((folder / MANIFEST).read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        right = f"a folder that `make compiled` made, or no {VARIABLE}"
        raise ConfigError(f"{VARIABLE}={folder}: no compiled data path there: {error}", right=right) from None
    if made_of != fingerprint(root):
        reason = f"{VARIABLE}={folder}: made of other files than those in {root}, or for another Python"
        raise ConfigError(reason, right="made anew: make compiled")
    modules = _modules(folder)
    if late := sorted(set(modules) & set(sys.modules)):
        raise ConfigError(f"{VARIABLE}={folder}: {late[0]} is imported already, in its Python form")
    sys.meta_path.insert(0, _Finder(modules))


def use_if_asked() -> None:
    """Do as `use` does where MESH_COMPILED names a folder.

    Raises:
        ConfigError: as `use`.
    """
    if folder := os.environ.get(VARIABLE):
        use(Path(folder))


def _modules(folder: Path) -> dict[str, Path]:
    """Return name -> file of each module in a folder: with those of the project the one that all of them share."""
    end = suffix()
    found = {path.relative_to(folder).as_posix().removesuffix(end): path for path in folder.rglob(f"*{end}")}
    return {name.replace("/", "."): path for name, path in found.items()}


class _Finder:
    """Finds modules by a table, before Python looks into its folders."""

    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._modules.get(name)
        if file is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))
