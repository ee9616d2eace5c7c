"""What a person says about images: make variables and the environment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.compose.recipes import Base
from lab.driver import LabError

DEBOOTSTRAP = "debootstrap"
BUNDLE = "meshyard-bundle.tar"
EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What was said.

    Args:
        base: BASE_IMAGE=, or "debootstrap" for BASE=debootstrap; empty when nothing was said.
        ca_bundle: CA_BUNDLE=, a file of certificates to trust while fetching; in no image.
        mirror: DEBIAN_MIRROR=, another mirror than Debian's own, for BASE=debootstrap.
        is_offline: OFFLINE=1, nothing may be fetched.
        bundle: BUNDLE=, the archive that has everything.
    """

    base: str = ""
    ca_bundle: str = ""
    mirror: str = ""
    is_offline: bool = False
    bundle: str = BUNDLE

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
        ca_bundle = environment.get("CA_BUNDLE", "")
        if ca_bundle and not Path(ca_bundle).is_file():
            raise LabError(f"CA_BUNDLE={ca_bundle}: no such file; right would be a PEM file", exit_code=EXIT_USAGE)
        return cls(
            base=way or image,
            ca_bundle=str(Path(ca_bundle).resolve()) if ca_bundle else "",
            mirror=environment.get("DEBIAN_MIRROR", ""),
            is_offline=environment.get("OFFLINE", "") not in ("", "0"),
            bundle=environment.get("BUNDLE") or BUNDLE,
        )


def choose_base(said: str, noted: str, default: Base) -> Base:
    """Choose what the operating system is made from: what is said now, what was said before, the default. Pure."""
    wish = said or noted
    return Base("" if wish == DEBOOTSTRAP else wish, is_own_wish=bool(said)) if wish else default
