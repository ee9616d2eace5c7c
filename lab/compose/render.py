"""The Compose file of a lab. Pure: a topology in, the file's text out; compose.yaml is that of lab/topology.yaml.

It is text and not a dump of values, because people read it: what repeats is said once above (`x-...` and anchors), a
host is one block, and the reasons stand beside what they explain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from lab.driver import checkout
from lab.topology import HostSpec, Role, Sidecar, Topology, load
from lab.units import AGENT_CONFIG, BOOTSTRAP, CONTROL_PLANE_CONFIG, ENVOY_OPTIONS
from mesh.base import ports

WORKLOAD = ports.GID_WORKLOAD
SERVICES_DIR = "/srv/demo-services"  # where the image has the applications
BROUGHT_DIR = f"{SERVICES_DIR}/brought"  # where a service lies that is not in the image; `../common` is beside it
DOORS_DIR = "/run/doors"
LAB_LABEL = 'dev.meshyard.lab: "${MESHYARD_LAB:-default}"'
LAB_PREFIX_LEN = 16  # of the one network: both datacenters, and room
IPV6_NETWORK = "fd77::/64"
PROBE_TIMEOUT_S = 600  # where nobody says more; how long a start may take, `up` decides, and says so here
# What root of a machine would use to look around on it: other users' files and processes, its network.
ROOT_MAY = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("NET_BIND_SERVICE", "NET_ADMIN", "NET_RAW", "SYS_PTRACE"),
)

HEAD = """\
# The lab on Docker Compose: every host of lab/topology.yaml as a group of containers. Written by `make compose-file`
# and held equal to the topology by a test: change lab/topology.yaml or lab/compose/render.py, not this file.
#
# `make up LAB=compose` starts it. By hand it would stand still: the lab's driver also lays each host's configuration
# and join token into its volumes, as an operator would. Once it is up, all of `docker compose -p meshyard-default`
# works on it: ps, logs, top, stats.
#
# A host is a group of containers that share one network and one table of processes, as the processes of a machine do.
# The first container, named as the host is, owns both and does nothing else (a "pause" container): so the application
# can be killed and started again, and the sidecar beside it keeps its network.
#
#   HOST            owns the network and the processes; `lab exec` goes in here
#   HOST-redirect   once: the iptables rules, before anything else starts; the only one with a capability
#   HOST-agent      identity, names, health
#   HOST-sidecar    the data plane
#   HOST-probe      once: a call through both listeners of the sidecar has to come back
#   HOST-app        the application; starts only then, and sees no file of the mesh
#   HOST-root       not part of the lab: where an operator may do what root may, from the first time they ask for it
#
# Every process is a user of its own, by number, the same on every kind of host (docs/reference/ports.md).
"""

TEMPLATES = f"""
x-contained: &contained # what holds for every container of the lab
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  read_only: true
  pids_limit: 256
  mem_limit: 384m
  stop_grace_period: 5s
  logging: {{ driver: json-file, options: {{ max-size: 5m, max-file: "2" }} }}

x-host: &host # the pause container: no process but tini, which collects the dead of the whole host
  <<: *contained
  image: ${{IMAGE_BASE:-meshyard/base}}
  command: [tini, --, sleep, infinity]
  user: "65534:65534"
  restart: "no" # its death is the host's: what shared its network is cut off
  tmpfs: ["/var/tmp:mode=1777,size=16m"]
  pids_limit: 512 # what `lab exec` starts counts here
  mem_limit: 768m
  dns: [127.0.0.1] # nobody answers there: Docker's resolver knows its containers, and asks no other for the rest
  sysctls:
    net.ipv4.ip_unprivileged_port_start: "1024" # Docker's 0 would let everybody listen everywhere
    net.ipv4.ping_group_range: "1 0" # nobody: Docker's range would give every user a socket that rules cannot turn

x-root: &root # for `lab exec --user root` alone, which starts it when it is needed; `up` does not
  <<: *contained
  profiles: [root]
  image: ${{IMAGE_BASE:-meshyard/base}}
  command: [tini, -s, --, sleep, infinity]
  user: "0:0"
  restart: "no"
  pids_limit: 512
  mem_limit: 768m
  cap_add: [{", ".join(ROOT_MAY)}]

x-once: &once # ends by itself, and must end well
  <<: *contained
  restart: "no"

x-unit: &unit # comes back when it dies; stays down when `docker stop` said so
  <<: *contained
  restart: unless-stopped
  tmpfs: ["/tmp:mode=1777,size=16m"]

x-redirect: &redirect
  <<: *once
  image: ${{IMAGE_REDIRECT_INIT:-meshyard/redirect-init}}
  command: [redirect, apply, --config, {AGENT_CONFIG}]
  user: "0:0"
  cap_add: [NET_ADMIN] # in the host's own network namespace, and in no other
  tmpfs: ["/run:mode=0755,size=1m"] # iptables keeps its lock there

x-agent: &agent
  <<: *unit
  image: ${{IMAGE_AGENT:-meshyard/agent}}
  command: [agent, --config, {AGENT_CONFIG}]
  user: "{ports.UID_AGENT}:{WORKLOAD}"

x-sidecar: &sidecar
  <<: *unit
  image: ${{IMAGE_SIDECAR:-meshyard/sidecar}}
  command: [sidecar, --bootstrap, {BOOTSTRAP}] # waits for the agent to write it
  user: "{ports.UID_SIDECAR}:{WORKLOAD}"

x-probe: &probe
  <<: *once
  image: ${{IMAGE_BASE:-meshyard/base}}
  command: [mesh, probe, --timeout, "${{MESHYARD_PROBE_TIMEOUT:-{PROBE_TIMEOUT_S}s}}"] # never less than `up` waits
  user: "{ports.UID_APP}:{WORKLOAD}" # the call has to take the way of the application's calls

x-app: &app
  <<: *unit
  image: ${{IMAGE_DEMO_SERVICE:-meshyard/demo-service}}
  user: "{ports.UID_APP}:{WORKLOAD}"

x-control-plane: &control-plane
  <<: *unit
  image: ${{IMAGE_CONTROL_PLANE:-meshyard/control-plane}}
  command: [control-plane, --config, {CONTROL_PLANE_CONFIG}]
  user: "{ports.UID_CONTROL_PLANE}:{ports.UID_CONTROL_PLANE}"
  cpu_shares: 4096 # while everything starts at once, this is what the others wait for

x-door: &door # a published port: one of these listens outside, one inside the host; a socket file is all they share
  <<: *unit
  image: ${{IMAGE_BASE:-meshyard/base}}
  user: "0:0" # without a capability; the rules of a host let root, and no other stranger, dial the application
  mem_limit: 64m
"""

ENVOY_TEMPLATE = f"""
x-envoy: &envoy # in the sidecar's place: the same user, the same folders
  <<: *unit
  image: ${{IMAGE_ENVOY:-meshyard/envoy}}
  command: [{", ".join(f'"{word}"' for word in ENVOY_OPTIONS)}] # waits for the agent to write the bootstrap
  user: "{ports.UID_SIDECAR}:{WORKLOAD}"
"""

# Volumes are folders in memory that go with the lab: whose each is, with which mode, and how much fits.
VOLUME_KINDS = {
    "agent": (ports.UID_AGENT, "0755", "64m"),
    "agent-alone": (ports.UID_AGENT, "0750", "64m"),
    "sidecar": (ports.UID_SIDECAR, "0755", "128m"),
    "app-alone": (ports.UID_APP, "0750", "64m"),
    "control-plane": (ports.UID_CONTROL_PLANE, "0755", "64m"),
    "control-plane-alone": (ports.UID_CONTROL_PLANE, "0750", "128m"),
    "root": (0, "0755", "4m"),
    "everybody": (0, "1777", "64m"),
}


def compose_text(topology: Topology) -> str:
    """Return the Compose file of a topology."""
    hosts = tuple(topology.hosts.values())
    blocks = [_host(host, topology) for host in hosts]
    doors = [host for host in hosts if host.publish]
    if doors:
        blocks.append(_outer_door(doors))
    templates = TEMPLATES + (ENVOY_TEMPLATE if topology.has(Sidecar.ENVOY) else "")
    parts = [HEAD, "name: meshyard-default\n", templates, _volume_kinds(), "\nservices:\n" + "\n".join(blocks)]
    parts += [_networks(topology, is_published=bool(doors)), _volumes(hosts)]
    return "".join(parts)


def network_of(topology: Topology) -> str:
    """Return the one network in which all datacenters of a topology lie.

    Raises:
        ValueError: a datacenter lies elsewhere.
    """
    networks = [ipaddress.IPv4Network(text) for text in topology.datacenters.values()]
    wide = min(LAB_PREFIX_LEN, *(network.prefixlen for network in networks))
    found = networks[0].supernet(new_prefix=wide)
    while not all(network.subnet_of(found) for network in networks):
        found = found.supernet()
    return str(found)


def ipv6_of(address: str) -> str:
    """Return the IPv6 address beside an IPv4 one: 10.77.1.12 -> fd77::10:77:1:12."""
    return "fd77::" + ":".join(str(ipaddress.IPv4Address(address)).split("."))


def is_in_image(host: HostSpec) -> bool:
    """Say whether the image of the applications holds a host's service; else its folder is brought to the host."""
    return host.service_dir.startswith("demo-services/")


def units_of_host(host: HostSpec) -> tuple[str, ...]:
    """Return the names of a host's units, in starting order; each is the container HOST-UNIT."""
    if host.role is Role.CONTROL_PLANE:
        return ("control-plane",)
    return ("redirect", "agent", "sidecar", "probe", "app") if host.role is Role.SERVICE else ()


def volumes_of(host: HostSpec) -> dict[str, tuple[str, str]]:
    """Return the volumes of a host: path -> (the volume's short name, whose it is)."""
    tmp = {"/tmp": ("tmp", "everybody")}  # noqa: S108 - of the host's own two containers; a unit has one to itself
    if host.role is Role.CONTROL_PLANE:
        return {
            **tmp,
            "/etc/mesh": ("etc", "control-plane"),
            "/var/lib/mesh": ("state", "control-plane-alone"),
            "/var/log/mesh": ("log", "control-plane"),
        }
    mesh = {
        "/etc/mesh": ("etc", "agent"),
        "/run/mesh": ("run", "agent"),
        "/var/lib/mesh": ("state", "agent-alone"),
        "/var/log/mesh": ("log", "sidecar"),
    }
    own = {"/var/lib/app": ("app", "app-alone")}
    brought = {BROUGHT_DIR: ("service", "root")}
    is_brought = host.role is Role.SERVICE and not is_in_image(host)
    return {**tmp, **mesh, **own, **(brought if is_brought else {})}


# Which of its host's folders a unit sees; "ro" is what it only reads.
_SEES: Mapping[str, Mapping[str, str]] = {
    "redirect": {"/etc/mesh": "ro"},
    "agent": {"/etc/mesh": "rw", "/run/mesh": "rw", "/var/lib/mesh": "rw"},
    "sidecar": {"/run/mesh": "ro", "/var/log/mesh": "rw"},
    "probe": {},
    "app": {"/var/lib/app": "rw", BROUGHT_DIR: "ro"},
    "control-plane": {"/etc/mesh": "ro", "/var/lib/mesh": "rw", "/var/log/mesh": "rw"},
}
_WAITS_FOR: Mapping[str, tuple[tuple[str, str], ...]] = {
    "redirect": (("", "service_started"),),
    "agent": (("redirect", "service_completed_successfully"),),
    "sidecar": (("redirect", "service_completed_successfully"),),
    "probe": (("redirect", "service_completed_successfully"),),
    "app": (("probe", "service_completed_successfully"),),
    "control-plane": (("", "service_started"),),
    "door": (("", "service_started"),),
}
_OPERATOR = "${MESHYARD_FOLDER:-./.lab/default}/control-plane:/run/mesh"


def _host(host: HostSpec, topology: Topology) -> str:
    runs = host.service or str(host.role)
    is_plane = host.role is Role.CONTROL_PLANE
    mounts = _mounts(host, dict.fromkeys(volumes_of(host), "rw"), with_operator=is_plane)
    lines = [
        f"  # ---- {host.name}: {runs}, datacenter {host.datacenter}",
        f"  {host.name}:",
        "    <<: *host",
        f"    hostname: {host.name}",
        *_labels(host.name, "host"),
        "    networks:",
        f"      lab: {{ ipv4_address: {host.address}, ipv6_address: {ipv6_of(host.address)} }}",
        *mounts,
    ]
    for unit in units_of_host(host):
        lines += _unit(host, unit)
    if host.publish:
        lines += _inner_door(host)
    lines += [f"  {host.name}-root:", "    <<: *root", *_member_of(host.name), *_labels(host.name, "root"), *mounts]
    return "\n".join(lines) + "\n"


def _unit(host: HostSpec, unit: str) -> list[str]:
    template = "envoy" if unit == "sidecar" and host.sidecar is Sidecar.ENVOY else unit
    lines = [f"  {host.name}-{unit}:", f"    <<: *{template}", *_member_of(host.name), *_labels(host.name, unit)]
    if unit == "app":
        folder = f"{SERVICES_DIR}/{host.service_dir.rpartition('/')[2]}" if is_in_image(host) else BROUGHT_DIR
        lines += [
            f"    command: [{folder}/app.py]",
            f"    environment: {{ DATA_DIR: /var/lib/app, HOST_NAME: {host.name} }}",
        ]
    has = volumes_of(host)
    sees = {path: mode for path, mode in _SEES[unit].items() if path in has}
    is_plane = unit == "control-plane"
    if is_plane:  # the group that may open the operator's socket is the one of whoever started the lab
        lines.append('    group_add: ["${MESHYARD_GID:-0}"]')
    return [*lines, *_mounts(host, sees, with_operator=is_plane), *_waits(host.name, unit)]


def _inner_door(host: HostSpec) -> list[str]:
    pairs = [f'"{DOORS_DIR}/{one.local_port}=tcp:{_target(host, one.via)}:{one.port}"' for one in host.publish]
    return [
        f"  {host.name}-door:",
        "    <<: *door",
        *_member_of(host.name),
        *_labels(host.name, "door"),
        f"    command: [python, -m, lab.onhost.door, {', '.join(pairs)}]",
        "    volumes:",
        f"      - doors:{DOORS_DIR}:nocopy",
        *_waits(host.name, "door"),
    ]


def _target(host: HostSpec, via: str) -> str:
    return "127.0.0.1" if via == "loopback" else host.address


def _outer_door(hosts: Iterable[HostSpec]) -> str:
    published = [one for host in hosts for one in host.publish]
    pairs = [f'"tcp:0.0.0.0:{one.local_port}={DOORS_DIR}/{one.local_port}"' for one in published]
    lines = [
        "  # ---- the published ports. On an internal network Docker publishes nothing, and no route leads from this",
        "  # container's network into the lab's: bytes pass through one socket file per port.",
        "  door:",
        "    <<: *door",
        "    networks: [outside]",
        *_labels("", "door"),
        f"    command: [python, -m, lab.onhost.door, {', '.join(pairs)}]",
        "    volumes:",
        f"      - doors:{DOORS_DIR}:nocopy",
        "    ports:",
        *(f'      - "127.0.0.1:${{MESHYARD_PORT_{p.local_port}-{p.local_port}}}:{p.local_port}"' for p in published),
    ]
    return "\n".join(lines) + "\n"


def _member_of(host: str) -> list[str]:
    return [f"    network_mode: service:{host}", f"    pid: service:{host}"]


def _labels(host: str, unit: str) -> list[str]:
    of_host = f", dev.meshyard.host: {host}" if host else ""
    return [f"    labels: {{ {LAB_LABEL}{of_host}, dev.meshyard.unit: {unit} }}"]


def _mounts(host: HostSpec, seen: Mapping[str, str], *, with_operator: bool) -> list[str]:
    volumes = volumes_of(host)
    lines = [f"      - {host.name}-{volumes[path][0]}:{path}:{mode},nocopy" for path, mode in seen.items()]
    if with_operator:
        lines.append(f"      - {_OPERATOR} # the operator's socket, for whoever started the lab")
    return ["    volumes:", *lines] if lines else []


def _waits(host: str, unit: str) -> list[str]:
    pairs = [(f"{host}-{on}" if on else host, condition) for on, condition in _WAITS_FOR[unit]]
    return ["    depends_on:", *(f"      {name}: {{ condition: {condition} }}" for name, condition in pairs)]


def _volume_kinds() -> str:
    lines = ["\n# Volumes: folders in memory, gone with the lab. Each belongs to the user who writes there.\n"]
    for name, (uid, mode, size) in VOLUME_KINDS.items():
        options = f'{{ type: tmpfs, device: tmpfs, o: "uid={uid},gid={uid},mode={mode},size={size}" }}'
        lines.append(f"x-of-{name}: &of-{name}\n  driver_opts: {options}\n  labels: {{ {LAB_LABEL} }}\n")
    return "".join(lines)


def _networks(topology: Topology, *, is_published: bool) -> str:
    outside = f"""\
  outside: # only the door is here
    labels: {{ {LAB_LABEL} }}
    # The door reaches this machine's own addresses; what it sends further leaves under an address that nobody knows.
    driver_opts: {{ com.docker.network.bridge.enable_ip_masquerade: "false" }}
"""
    return f"""
networks:
  lab: # both datacenters: one wire, no router, no way out of it
    internal: true
    enable_ipv6: true # so that it can be seen that the mesh refuses it
    labels: {{ {LAB_LABEL} }}
    # This machine has no IPv4 address in it. An IPv6 one it has, fd77::1: Docker has no setting that keeps it out.
    driver_opts: {{ com.docker.network.bridge.inhibit_ipv4: "true" }}
    ipam:
      config:
        - subnet: {network_of(topology)}
        - subnet: {IPV6_NETWORK}
{outside if is_published else ""}"""


def _volumes(hosts: Iterable[HostSpec]) -> str:
    lines = []
    for host in hosts:
        for short, whose in volumes_of(host).values():
            lines.append(f"  {host.name}-{short}: *of-{whose}")
    if any(host.publish for host in hosts):
        lines.append("  doors: *of-root")
    return "\nvolumes:\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(compose_text(load(checkout() / "lab" / "topology.yaml")), end="")  # noqa: T201 - `make compose-file` keeps it
