"""Two bare hosts, each a network namespace of its own, joined by one link; nothing outside them is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
HERE, FAR = "10.91.0.13", "10.91.0.14"
HERE6, FAR6 = "fd91::13", "fd91::14"
PORTS = {1336: (15020, 15053), 1337: (15000, 15001, 15006), 1338: (8080,)}  # of the agent, the sidecar, the application

# Answers each connection with the port that took it and the address that was dialled; UDP likewise.
SERVE = """
import selectors, socket, struct, sys
chosen = selectors.DefaultSelector()
IPV4, IPV6 = (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")
places = (IPV4, IPV6) if sys.argv[1] == "*" else ((socket.AF_INET, sys.argv[1]),)
for port in map(int, sys.argv[2:]):
    for family, address in places:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            listener = socket.socket(family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            if kind == socket.SOCK_STREAM:
                listener.listen(16)
            chosen.register(listener, selectors.EVENT_READ, port)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj.type == socket.SOCK_DGRAM:
            _, peer = key.fileobj.recvfrom(100)
            key.fileobj.sendto(f"port {key.data}".encode(), peer)
            continue
        connection, _ = key.fileobj.accept()
        dialled = ""
        if connection.family == socket.AF_INET:
            try:
                raw = connection.getsockopt(socket.SOL_IP, 80, 16)
            except OSError:  # this host tracks no connections
                here, port = connection.getsockname()
                raw = struct.pack("!HH4s8x", 2, port, socket.inet_aton(here))
            original = (socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0])
            if original != connection.getsockname():
                dialled = f" for {original[0]}:{original[1]}"
        connection.sendall(f"port {key.data}{dialled}".encode())
        connection.close()
"""

DIAL = """
import socket, sys
kind, source, address, port = sys.argv[1:5]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
try:
    if kind == "raw":
        link = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        link.sendto(bytes([8, 0, 247, 255, 0, 0, 0, 0]), (address, 0))
        print("sent")
        sys.exit()
    link = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    link.settimeout(2)
    if source:
        link.bind((source, 0))
    link.connect((address, int(port)))
    if kind == "udp":
        link.send(b"?")
    print(link.recv(100).decode() or "closed")
except TimeoutError:
    print("silence")
except OSError as error:
    print("refused")
"""


@dataclass(frozen=True)
class Host:
    """A namespace held open by one process."""

    pid: int
    has_users: bool  # whether it lives in a user namespace of its own

    def command(self, *words: str, uid: int | None = None) -> list[str]:
        """Return what runs `words` on the host, as its root or as `uid` with no capability left."""
        users = ["--user", "--setuid=0", "--setgid=0"] if self.has_users else []
        person = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"] if uid else []
        return ["nsenter", f"--target={self.pid}", *users, "--net", "--", *person, *words]

    def run(self, *words: str, uid: int | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the host and wait for it."""
        return subprocess.run(
            self.command(*words, uid=uid), capture_output=True, text=True, timeout=30, check=check, cwd="/"
        )

    def mesh_redirect(
        self, *arguments: str, check: bool = True, within: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run `mesh redirect ...` on the host; `within` is put before it."""
        code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from mesh.cli.main import main; sys.exit(main())"
        return self.run(*within, sys.executable, "-B", "-c", code, "redirect", *arguments, check=check)

    def dial(self, kind: str, address: str, port: int, *, uid: int, source: str = "") -> str:
        """Say what a process of `uid` gets: `port N` (`for A:P` if turned round), `refused`, `closed` or `silence`."""
        return self.run(sys.executable, "-I", "-c", DIAL, kind, source, address, str(port), uid=uid).stdout.strip()


@contextmanager
def two_hosts(*, has_users: bool, has_default_route: bool = True, serves: bool = True) -> Iterator[tuple[Host, Host]]:
    """Make a mesh host and a stranger beside it, with a link and addresses of both families.

    Args:
        has_users: put them into a user namespace of their own.
        has_default_route: each routes what it does not know to the other.
        serves: open the ports of agent, sidecar and application here, and some there.
    """
    with ExitStack() as stack:
        first = stack.enter_context(_holder(_new_users() if has_users else ["unshare", "--net"], has_users=has_users))
        here = Host(first, has_users)
        far = Host(stack.enter_context(_holder(here.command("unshare", "--net"))), has_users)
        here.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(far.pid))
        for host, address, address6, peer in ((here, HERE, HERE6, FAR), (far, FAR, FAR6, HERE)):
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.run("ip", "address", "add", f"{address6}/64", "dev", "eth0", "nodad")
            for link in ("lo", "eth0"):
                host.run("ip", "link", "set", link, "up")
            if has_default_route:
                host.run("ip", "route", "add", "default", "via", peer)
        for uid, ports in PORTS.items() if serves else ():
            stack.enter_context(serving(here, *ports, uid=uid))
        if serves:
            stack.enter_context(serving(far, 8080, 53, 443, 8502, 8503))
        yield here, far


def _new_users() -> list[str]:
    """An ordinary user needs newuidmap and a range in /etc/subuid; root writes the map itself."""
    return ["unshare", "--user", *([] if os.geteuid() == 0 else ["--map-root-user", "--map-auto"]), "--net"]


@contextmanager
def _holder(prefix: list[str], *, has_users: bool = False) -> Iterator[int]:
    process = subprocess.Popen([*prefix, "sleep", "infinity"])
    try:
        _wait_for_name(process.pid, "sleep")
        if has_users and os.geteuid() == 0:
            for kind in ("uid", "gid"):
                Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 65536")
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving(host: Host, *ports: int, uid: int | None = None, address: str = "*") -> Iterator[None]:
    """Answer on some ports of a host as its root or as `uid`, over both families or on one address, for the block."""
    command = host.command(sys.executable, "-I", "-c", SERVE, address, *map(str, ports), uid=uid)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def _wait_for_name(pid: int, name: str) -> None:
    """Wait until the process has become `name`: then its namespaces are made."""
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/comm").read_text().strip() != name:
        assert time.monotonic() < deadline, f"{pid} did not become {name}"
        time.sleep(0.005)
