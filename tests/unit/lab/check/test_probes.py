"""Probes, each on something that really fails: a held port, a docker that is not there, a kernel that refuses."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.check import probes
from lab.check.machine import Docker
from lab.compose.images import wanted
from lab.compose.options import Options
from lab.driver import checkout
from lab.topology import load

TOPOLOGY = load(checkout() / "lab" / "topology.yaml", {})


def program(folder: Path, name: str, text: str) -> None:
    """Put a shell script where a program would be."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing in it but what a test puts there, and what scripts need."""
    for name in ("cat", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path


# --------------------------------------------------------------------------------------------------- Docker


def test_a_machine_without_docker(path: Path) -> None:
    assert not probes.docker().is_installed


def test_an_engine_that_does_not_answer_is_named_and_quoted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    said = "Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?"
    program(path, "docker", f"""[ "$1" = info ] && echo '{{"ServerErrors":["{said}"]}}' || exit 1""")
    found = probes.docker()
    assert (found.address, found.reason, found.api, found.compose) == ("tcp://127.0.0.1:1", said, (), ())


def test_a_docker_that_only_complains_is_quoted(path: Path) -> None:
    program(path, "docker", 'echo "permission denied while trying to connect" >&2; exit 1')
    assert probes.docker().reason == "permission denied while trying to connect"


def test_an_engine_with_an_old_plugin_says_both_versions(path: Path) -> None:
    program(
        path,
        "docker",
        """case "$1 $2" in
        "info --format") echo '{"ServerVersion":"20.10.24","MemTotal":2147483648}' ;;
        "version --format") echo 1.41 amd64 ;;
        "compose version") echo v2.6.0-ds1 ;;
        *) exit 1 ;; esac""",
    )
    found = probes.docker()
    assert (found.reason, found.version, found.api, found.compose) == ("", "20.10.24", (1, 41), (2, 6, 0))
    assert found.memory_mb == 2048


def test_an_engine_says_what_kind_it_is(path: Path) -> None:
    said = '{"OperatingSystem":"Docker Desktop","SecurityOptions":["name=rootless"],"DockerRootDir":"/data"}'
    program(path, "docker", f"""[ "$1" = info ] && echo '{said}' || exit 1""")
    found = probes.docker()
    assert (found.system, found.security, found.root) == ("Docker Desktop", ("name=rootless",), "/data")


@pytest.mark.parametrize(
    ("absent", "has_images"),
    [
        pytest.param("", True, id="all of them"),
        pytest.param("agent", False, id="all but one"),
    ],
)
def test_images_are_there_when_each_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, absent: str, has_images: bool
) -> None:
    monkeypatch.setenv("BASE_IMAGE", "ubuntu:24.04")
    tags = [made.tag for role, made in wanted(Options(base="ubuntu:24.04"), "arm64").items() if role != absent]
    answer = "\n".join(tags)
    program(path, "docker", f"""[ "$1" = images ] && echo '{answer}'""")
    assert probes.has_images("arm64") is has_images
    assert not probes.has_images("amd64"), "another machine needs other images"
    assert not probes.has_images(""), "an engine that does not answer has none"


def test_the_disk_is_the_one_where_the_engine_keeps_its_images(tmp_path: Path) -> None:
    here = replace(Docker(), root=str(tmp_path))
    assert probes.room_for_images(here)["disk_folder"] == str(tmp_path)
    assert probes.room_for_images(replace(here, root=str(tmp_path / "in a virtual machine"))) == {}
    assert probes.room_for_images(replace(here, address="tcp://192.0.2.9:2375")) == {}


def test_without_its_list_of_addresses_a_kernel_has_no_ipv6(tmp_path: Path) -> None:
    assert not probes.has_ipv6(tmp_path / "if_inet6")
    (tmp_path / "if_inet6").touch()
    assert probes.has_ipv6(tmp_path / "if_inet6")


def test_an_engine_without_the_plugin_has_no_version_of_it(path: Path) -> None:
    """`docker compose` is then `docker` with a word it does not know."""
    program(path, "docker", """[ "$1" = info ] && echo '{}' || { echo "unknown shorthand flag" >&2; exit 125; }""")
    assert probes.docker().compose == ()


# --------------------------------------------------------------------------------------------------- Vagrant


def test_a_machine_without_anything_for_virtual_machines(path: Path) -> None:
    found = probes.vm()
    assert (found.vagrant, found.plugins, found.qemu, found.has_virtualbox) == ((), (), "", False)
    assert found.libvirt_reason == "there is no virsh"


def test_vagrant_its_plugins_and_a_libvirt_that_does_not_answer(path: Path) -> None:
    listed = "vagrant-libvirt (0.11.2, system)\n  - Version Constraint: > 0"
    program(path, "vagrant", f"""[ "$1" = plugin ] && echo "{listed}" || echo Vagrant 2.3.4""")
    program(path, "virsh", 'echo "error: failed to connect to the hypervisor" >&2; exit 1')
    found = probes.vm()
    assert (found.vagrant, found.plugins) == ((2, 3, 4), ("vagrant-libvirt",))
    assert found.libvirt_reason == "error: failed to connect to the hypervisor"


@pytest.mark.parametrize(
    ("note", "said", "is_emulated"),
    [
        pytest.param("BOOT tcg\n", "", True, id="the test found emulation"),
        pytest.param("BOOT kvm\n", "", False, id="the test found KVM"),
        pytest.param("another-boot tcg\n", "", False, id="a test before this boot says nothing"),
        pytest.param("nonsense", "", False, id="no note"),
        pytest.param("BOOT kvm\n", "tcg", True, id="LAB_VM_ACCEL decides"),
    ],
)
def test_emulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str, said: str, is_emulated: bool) -> None:
    monkeypatch.setenv("LAB_VM_ACCEL", said)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "accel").write_text(note.replace("BOOT", boot))
    assert probes.is_emulated(tmp_path / "accel") is is_emulated


# --------------------------------------------------------------------------------------------------- everywhere


def test_a_port_that_is_held_names_who_holds_it() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert probes.holder(port).startswith(f"pid {os.getpid()} (")
    assert probes.holder(port) == ""


def test_the_ports_of_a_lab_are_those_of_its_topology() -> None:
    assert probes.published(TOPOLOGY) == (18080, 18500)


def test_memory_is_what_is_available(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 9000000 kB\nMemAvailable:   512000 kB\n")
    assert probes.memory_mb(path) == 500
    assert probes.memory_mb(tmp_path / "nothing") is None


def test_each_file_of_subordinate_ids_counts(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text("ada:100000:65536\n")
    assert probes.without_range("ada", 1000, tmp_path) == (str(tmp_path / "subgid"),)
    (tmp_path / "subgid").write_text("1000:100000:65536\n")
    assert probes.without_range("ada", 1000, tmp_path) == ()
    assert len(probes.without_range("adam", 1001, tmp_path)) == 2


def test_routes_are_networks_with_their_interface(path: Path) -> None:
    program(
        path,
        "ip",
        """echo '[{"dst":"default","dev":"eth0"},{"dst":"10.77.0.0/16","dev":"tun0"},{"dst":"192.0.2.7","dev":"wg0"},
        {"type":"local","dst":"10.1.2.3","dev":"lo"},{"type":"unreachable","dst":"10.9.0.0/16"}]'""",
    )
    assert probes.routes() == (("10.77.0.0/16", "tun0"), ("192.0.2.7/32", "wg0"))


def test_without_ip_no_route_is_known(path: Path) -> None:
    assert probes.routes() == ()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("true", "", id="it works"),
        pytest.param("echo first >&2; echo 'no such match' >&2; false", "no such match", id="the last line counts"),
        pytest.param("echo on stdout; false", "on stdout", id="some complain on stdout"),
        pytest.param("false", "it failed without a word", id="silence"),
    ],
)
def test_refusals_are_one_line(script: str, reason: str) -> None:
    assert probes.refusal(["sh", "-c", script])[0] == reason


def test_a_command_that_hangs_or_is_not_there_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_TIMEOUT_S", 0.05)
    assert probes.refusal(["sleep", "5"])[0] == "sleep gave no answer for 0.05 s"
    assert "No such file" in probes.refusal(["/nowhere/at-all"])[0]


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize(
    ("probe", "kernel", "queue"),
    [
        pytest.param("ip link add x type no-such-type", "Error: Unknown device type.", "", id="a link it cannot make"),
        pytest.param("echo 'no queue: no such target'", "", "no such target", id="a target that only faults need"),
    ],
)
def test_a_kernel_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch, probe: str, kernel: str, queue: str) -> None:
    """Asked in namespaces of its own; where this machine gives none, that is what is quoted."""
    monkeypatch.setattr(probes, "KERNEL_PROBE", probe)
    found = probes.namespaces()
    if not (found.get("subids") or found.get("namespaces_reason")):
        assert (found["kernel_reason"], found["queue_reason"]) == (kernel, queue)


def test_without_its_programs_no_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probes, "SYSTEM_PATH", str(tmp_path))
    found = probes.namespaces()
    assert set(found["programs"].values()) == {""}
    assert "kernel_reason" not in found


@pytest.mark.parametrize("driver", ["compose", "vagrant"])
def test_a_driver_asks_for_its_own_alone(path: Path, driver: str) -> None:
    found = probes.look(driver, TOPOLOGY, has_fixed_ports=False)
    assert (found.docker is None, found.vm is None) == (driver != "compose", driver != "vagrant")
    assert found.ports == {}
    assert found.hosts == len(TOPOLOGY.hosts)
