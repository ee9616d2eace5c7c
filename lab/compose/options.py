"""What a person says about images: make variables and the environment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lab.compose.recipes import ENVOY_PACKAGE, Base
from lab.driver import LabError

DEBOOTSTRAP = "debootstrap"
DEFAULT = "default"  # BASE_IMAGE=default: the one that images/os/Dockerfile names, whatever was noted
# Why a base was noted.
SAID = "said"
NO_REGISTRY = "no registry"
FROM_BUNDLE = "bundle"
BUNDLE = "meshyard-bundle.tar"
EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What was said.

    Args:
        base: BASE_IMAGE=, or "debootstrap" for BASE=debootstrap, or "default"; empty when nothing was said.
        ca_bundle: CA_BUNDLE=, a file of certificates to trust while fetching; in no image.
        mirror: DEBIAN_MIRROR=, another mirror than Debian's own, for BASE=debootstrap.
        is_offline: OFFLINE=1, nothing may be fetched.
        bundle: BUNDLE=, the archive that has everything.
        envoy_image: ENVOY_IMAGE=, an image by digest that has Envoy; empty: it comes from its Python package.
        has_envoy: a host has Envoy for a sidecar (SIDECAR=, or the topology).
    """

    base: str = ""
    ca_bundle: str = ""
    mirror: str = ""
    is_offline: bool = False
    bundle: str = BUNDLE
    envoy_image: str = ""
    has_envoy: bool = False

    @property
    def envoy_from(self) -> str:
        """Return what Envoy's image is made from; empty when no host wants it."""
        return (self.envoy_image or ENVOY_PACKAGE) if self.has_envoy else ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """Read the options.

        Raises:
            LabError: they contradict each other, or name a file that is not there.
        """
        way, image = environment.get("BASE", ""), environment.get("BASE_IMAGE", "")
        if way not in ("", DEBOOTSTRAP):
            raise LabError(f"BASE={way}: right would be BASE={DEBOOTSTRAP}, or BASE_IMAGE={way}", exit_code=EXIT_USAGE)
        if way and image:
            raise LabError(f"BASE={way} and BASE_IMAGE={image}: say one of them", exit_code=EXIT_USAGE)
        envoy_image = environment.get("ENVOY_IMAGE", "")
        if envoy_image and "@sha256:" not in envoy_image:
            raise LabError(f"ENVOY_IMAGE={envoy_image}: right would be {envoy_image}@sha256:...", exit_code=EXIT_USAGE)
        ca_bundle = environment.get("CA_BUNDLE", "")
        if ca_bundle and not Path(ca_bundle).is_file():
            raise LabError(f"CA_BUNDLE={ca_bundle}: no such file; right would be a PEM file", exit_code=EXIT_USAGE)
        return cls(
            base=way or image,
            ca_bundle=str(Path(ca_bundle).resolve()) if ca_bundle else "",
            mirror=environment.get("DEBIAN_MIRROR", ""),
            is_offline=environment.get("OFFLINE", "") not in ("", "0"),
            bundle=environment.get("BUNDLE") or BUNDLE,
            envoy_image=envoy_image,
            has_envoy="envoy" in environment.get("SIDECAR", ""),
        )


@dataclass(frozen=True, slots=True)
class Noted:
    """What images were made from before, and why it was that: a person's wish holds until they say otherwise."""

    base: str = ""
    why: str = ""

    @property
    def is_own_wish(self) -> bool:
        """Say whether a person named it; else it was for want of a registry, or as a bundle had it."""
        return self.why == SAID


_WHY = {
    SAID: "as you said before; the default: BASE_IMAGE=default",
    NO_REGISTRY: "as no registry answered when it was built; to ask again: BASE_IMAGE=default",
    "": "as .lab/cache/base says; the default: BASE_IMAGE=default",
    FROM_BUNDLE: "as the bundle had it; the default: BASE_IMAGE=default",
}


def choose_base(said: str, noted: Noted, default: Base) -> Base:
    """Choose what the operating system is made from: what is said now, what was noted before, the default. Pure."""
    wish, is_own_wish = (said, True) if said else (noted.base, noted.is_own_wish)
    if wish in ("", DEFAULT):
        return replace(default, is_own_wish=is_own_wish and bool(wish))
    return Base("" if wish == DEBOOTSTRAP else wish, is_own_wish=is_own_wish)


def origin(said: str, noted: Noted, base: Base) -> str:
    """Return where a base comes from that nobody named now; empty when somebody did, or it is the default. Pure."""
    if said or noted.base != str(base):
        return ""
    why = _WHY.get(noted.why, _WHY[""])
    return f"images are made from {base}, {why}"
