"""What has to lie on a fresh host before its first process starts. Pure: a topology in, files out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lab.topology import HostSpec, Role, Topology
from mesh.base import ports

USERS = (
    ("mesh", ports.UID_CONTROL_PLANE),
    ("mesh-agent", ports.UID_AGENT),
    ("sidecar", ports.UID_SIDECAR),
    ("app", ports.UID_APP),
)
STATE_DIRS = {  # path -> (owner, mode): who may write where
    "/run/mesh": (ports.UID_AGENT, 0o755),
    "/var/lib/mesh": (ports.UID_AGENT, 0o750),
    "/var/log/mesh": (ports.UID_SIDECAR, 0o755),
    "/var/lib/app": (ports.UID_APP, 0o750),
}
CONTROL_PLANE_DIRS = {
    "/run/mesh": (ports.UID_CONTROL_PLANE, 0o755),
    "/var/lib/mesh": (ports.UID_CONTROL_PLANE, 0o750),
    "/var/log/mesh": (ports.UID_CONTROL_PLANE, 0o755),
}


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of a host: content, owner (user and group), mode."""

    content: str
    uid: int = 0
    mode: int = 0o644


def dirs_of(host: HostSpec) -> dict[str, tuple[int, int]]:
    """Return the folders a host's processes write to: path -> (owner, mode)."""
    return CONTROL_PLANE_DIRS if host.role is Role.CONTROL_PLANE else STATE_DIRS


def files_of(topology: Topology, host: HostSpec, service_hcl: str = "") -> dict[str, HostFile]:
    """Return the files of a host by absolute path.

    Args:
        topology: the whole lab.
        host: whose files.
        service_hcl: the text of the service's own service.hcl; its team writes it, nobody edits it here.
    """
    files = {
        "/etc/hostname": HostFile(host.name + "\n"),
        "/etc/hosts": HostFile(f"127.0.0.1 localhost\n::1 localhost\n{host.address} {host.name}\n"),
        "/etc/resolv.conf": HostFile("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"),
        "/etc/nsswitch.conf": HostFile("passwd: files\ngroup: files\nhosts: files dns\n"),
        **{f"/etc/{name}": HostFile(text) for name, text in users().items()},
    }
    if host.role is Role.CONTROL_PLANE:
        files["/etc/mesh/control-plane.json"] = HostFile(_json(control_plane_config(topology, host)))
    if host.role is Role.SERVICE:
        files["/etc/mesh/agent.json"] = HostFile(_json(agent_config(topology, host)))
        files["/etc/mesh/service.hcl"] = HostFile(service_hcl)
    return files


def control_plane_config(topology: Topology, host: HostSpec) -> dict[str, object]:
    """Return what `mesh control-plane --config` reads."""
    return {
        "datacenter": host.datacenter,
        "datacenters": list(topology.datacenters),
        "trust_domain": topology.trust_domain,
        "namespace": topology.namespace,
        "address": host.address,
        "http_port": ports.CONTROL_HTTP,
        "grpc_port": ports.CONTROL_GRPC,
        "join_port": ports.CONTROL_JOIN,
        "socket": "/run/mesh/control-plane.sock",
        "data_dir": "/var/lib/mesh/control-plane",
        "access_log_path": "/var/log/mesh/access.log",
        **{key: topology.settings[key] for key in ("leaf_ttl", "intermediate_ttl", "root_ttl")},
    }


def agent_config(topology: Topology, host: HostSpec) -> dict[str, object]:
    """Return what `mesh agent --config` reads."""
    return {
        "host": host.name,
        "address": host.address,
        "datacenter": host.datacenter,
        "namespace": topology.namespace,
        "trust_domain": topology.trust_domain,
        "control_plane": {
            "address": topology.control_plane.address,
            "grpc_port": ports.CONTROL_GRPC,
            "join_port": ports.CONTROL_JOIN,
            "server_name": "control-plane.mesh",
        },
        "service_file": "/etc/mesh/service.hcl",
        "roots_file": "/etc/mesh/roots.pem",
        "token_file": "/etc/mesh/join-token",
        "socket": "/run/mesh/agent.sock",
        "bootstrap_file": "/run/mesh/bootstrap.json",
        "released_file": "/run/mesh/released",
        "state_dir": "/var/lib/mesh",
        "dns": {"address": "127.0.0.1", "port": ports.AGENT_DNS},
        "http": {"address": "0.0.0.0", "port": ports.AGENT_HTTP},  # noqa: S104 - health is for other hosts, too
        "sidecar_admin": {"address": "127.0.0.1", "port": ports.SIDECAR_ADMIN},
        "probe": {"address": ports.PROBE_VIP, "port": ports.PROBE, "uid": ports.UID_APP},
    }


def users() -> dict[str, str]:
    """Return the files below /etc that say who lives on a host; the images have the same."""
    return {"passwd": _passwd(), "group": _group()}


def _passwd() -> str:
    people = [f"{name}:x:{uid}:{uid}:{name}:/nonexistent:/bin/sh" for name, uid in USERS]
    return "\n".join(["root:x:0:0:root:/root:/bin/sh", *people, "nobody:x:65534:65534::/nonexistent:/bin/sh", ""])


def _group() -> str:
    groups = [f"{name}:x:{uid}:" for name, uid in USERS]
    workload = f"workload:x:{ports.GID_WORKLOAD}:mesh-agent,sidecar,app"
    return "\n".join(["root:x:0:", *groups, workload, "nogroup:x:65534:", ""])


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
