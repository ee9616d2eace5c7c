"""The facts about a machine that the checks decide on. Values only; `lab.check.probes` finds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Docker:
    """What was found of Docker.

    Args:
        address: where the engine is, as DOCKER_HOST would say it.
        is_installed: whether there is a docker command.
        reason: what `docker` said when no engine answered, empty when one did.
        version, api: the engine's own.
        compose: the plugin's version.
        memory_mb: what the engine has.
        system: what the engine runs on, in its own words.
        security: what it confines containers with, `name=rootless` among others.
        root: where it keeps images, on its own machine.
        has_images: whether the images of this checkout are all there, so that none is built.
    """

    address: str = "unix:///var/run/docker.sock"
    is_installed: bool = True
    reason: str = ""
    version: str = "20.10.24"
    api: Version = (1, 41)
    compose: Version = (2, 26, 1)
    memory_mb: int = 0
    system: str = "Debian GNU/Linux 12 (bookworm)"
    security: tuple[str, ...] = ("name=seccomp,profile=default",)
    root: str = "/var/lib/docker"
    has_images: bool = False

    @property
    def is_local(self) -> bool:
        """Say whether its socket is a file of this machine."""
        return self.address.startswith("unix://")


@dataclass(frozen=True, slots=True)
class Vm:
    """What was found of Vagrant and of what may carry its machines."""

    vagrant: Version = (2, 3, 4)
    plugins: tuple[str, ...] = ("vagrant-libvirt",)
    libvirt_reason: str = ""  # why its daemon does not answer; empty when it does
    has_virtualbox: bool = False
    qemu: str = "/usr/bin/qemu-system-x86_64"
    has_kvm: bool = True
    may_use_kvm: bool = True
    is_emulated: bool = False  # a kernel was booted for a test, and /dev/kvm could not


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as seen by one user who wants hosts made by one driver.

    Args:
        platform: as `sys.platform` names it.
        python: major and minor version.
        user, uid: who asks.
        checkout: the folder of the project; `is_readable` says whether others may read it.
        programs: name -> path, empty when it is not there.
        memory_mb, disk_mb: what is free; None when nobody can say.
        disk_folder: where `disk_mb` is free; empty for the checkout.
        hosts: how many hosts the lab would have.
        subids: the files of subordinate ids that have no range for this user.
        namespaces_reason: why a user namespace was refused; empty when it was not, or when none is needed.
        kernel_reason: what of the lab's needs the kernel refused; empty when nothing.
        queue_reason: why packets cannot be caught for faults; empty when they can.
        has_ipv6: whether the kernel has IPv6; True where it is not asked.
        ports: what is published -> who has it already, empty when it is free.
        routes: the networks that have a route, with their interface.
        network: what the lab's hosts are in.
        docker, vm: None where the driver asks for neither.
    """

    platform: str = "linux"
    python: Version = (3, 11)
    user: str = "root"
    uid: int = 0
    checkout: str = "/srv/meshyard"
    is_readable: bool = True
    programs: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int | None = 8192
    disk_mb: int | None = 20480
    disk_folder: str = ""
    hosts: int = 9
    subids: tuple[str, ...] = ()
    namespaces_reason: str = ""
    kernel_reason: str = ""
    queue_reason: str = ""
    has_ipv6: bool = True
    ports: Mapping[int, str] = field(default_factory=lambda: {18080: "", 18500: ""})
    routes: tuple[tuple[str, str], ...] = (("192.0.2.0/24", "eth0"),)
    network: str = "10.77.0.0/16"
    docker: Docker | None = None
    vm: Vm | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `is_needed` False makes a fault of it a warning."""

    name: str
    is_ok: bool
    text: str
    fix: str = ""
    is_needed: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return this finding as JSON values."""
        return {
            "name": self.name,
            "is_ok": self.is_ok,
            "text": self.text,
            "fix": self.fix,
            "is_needed": self.is_needed,
        }
