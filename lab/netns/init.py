"""The lab's first process: it holds every namespace alive, and its death is the teardown.

Started by `launch` inside fresh namespaces as `python -m lab.netns.init PLAN`, with sockets inherited from the
user's side. It imports what the units will need, makes the hosts, and then answers on the control socket.

The control socket speaks JSON lines. An order is one line; the answer is one line, or, for a job, the job's own
lines until it closes the connection.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from lab.netns import jobs, links, mounts, syscalls
from lab.netns.host import Host, needed_of, start
from lab.netns.orders import Asking, Orders, order_of
from lab.netns.plan import Plan
from lab.services import service_files
from lab.topology import HostSpec, Role, Topology, host_from_json, to_json

# What the units run, imported once: a fork of this process needs no second of imports of its own.
PRELOADED = (
    "aiohttp.web",
    "mesh.controlplane.main",
    "mesh.agent.main",
    "mesh.proxy.main",
    "mesh.cli.main",
    "mesh.cli.redirect",
    "mesh.cli.probe",
)


class Init:
    """The lab: its hosts, and the orders it takes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.topology: Topology = plan.topology
        self.hosts: dict[str, Host] = {}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.selector = selectors.DefaultSelector()
        self.orders = Orders(socket.socket(fileno=plan.control_fd), self.selector)
        self.is_committed = False

    def bring_up_hosts(self) -> None:
        """Make bridges and hosts; their units start by themselves as their gates open."""
        mounts.make_private()
        mounts.fresh_proc()
        syscalls.sethostname("meshyard")
        mounts.hide_homes(needed_of(self.plan.checkout))
        mounts.cover("/run", needed_of(self.plan.checkout))
        links.make_bridges(self.topology)
        for host in self.topology.hosts.values():
            self.add_host(host, self.plan.listeners.get(host.name, {}), self.plan.service_files.get(host.name))
        for made in self.hosts.values():  # they furnish themselves side by side
            made.wait_until_furnished()

    def add_host(self, spec: HostSpec, listeners: dict[int, int], brought: dict[str, str] | None) -> None:
        """Make one host and listen to it; `brought` are the files of a service from outside the checkout."""
        if brought is not None:
            self.plan.service_files[spec.name] = brought
        folder = Path(self.plan.checkout) / spec.service_dir
        files = service_files(folder) if spec.role is Role.SERVICE and brought is None else brought or {}
        host = start(
            spec,
            self.topology,
            checkout=self.plan.checkout,
            service_hcl=files.get("service.hcl", ""),
            brought=brought or {},
            listeners=listeners,
        )
        for descriptor in listeners.values():
            os.close(descriptor)
        self.hosts[spec.name] = host
        self.selector.register(host.channel, selectors.EVENT_READ, host)

    def serve(self) -> None:
        """Take orders until told to go down, or until whoever started us is gone before we were committed."""
        self.selector.register(self.plan.lifeline_fd, selectors.EVENT_READ, "lifeline")
        while True:
            for key, _ in self.selector.select(1.0):
                if key.data is self.orders:
                    self.orders.accept(now=time.monotonic())
                elif isinstance(key.data, Asking):
                    self.take(key.data)
                elif key.data == "lifeline":
                    self.read_lifeline()
                elif isinstance(key.data, Host):
                    self.hear(key.data)
            self.orders.expire(now=time.monotonic())
            self.reap()

    def read_lifeline(self) -> None:
        """A byte means that `up` succeeded; the end of the pipe before it means that `up` was killed."""
        received = os.read(self.plan.lifeline_fd, 1)
        self.selector.unregister(self.plan.lifeline_fd)
        if not received:
            os._exit(1)
        self.is_committed = True

    def reap(self) -> None:
        """Collect ended children: jobs, and orphans of hosts."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.jobs.pop(pid, None)

    def hear(self, host: Host) -> None:
        """Take in what a host says about its units."""
        try:
            received = host.channel.recv(65536)
        except OSError:
            received = b""  # killed while something was on its way to it: no less gone
        if not received:
            self.forget(host)
            return
        *lines, host.buffer = (host.buffer + received).split(b"\n")
        for line in lines:
            unit = json.loads(line)["unit"]
            host.units[unit["name"]] = unit

    def forget(self, host: Host) -> None:
        """Take a host that is gone out of the lab."""
        self.selector.unregister(host.channel)
        host.channel.close()
        self.hosts.pop(host.spec.name, None)

    def take(self, asking: Asking) -> None:
        """Take in what a connection sent, and carry its order out once it is whole."""
        try:
            line = self.orders.read(asking)
            if line is None:
                return
            self.carry_out(order_of(line), asking.connection)
        except Exception as error:  # noqa: BLE001 - whatever an order is or does, the lab goes on
            self.complain(asking.connection, error)
        self.orders.drop(asking)

    def carry_out(self, order: dict[str, Any], connection: socket.socket) -> None:
        """Do what an order says, and answer."""
        if order["op"] == "job":
            self.start_job(order, connection)
            return
        connection.sendall(json.dumps(self.obey(order)).encode() + b"\n")
        if order["op"] == "down":
            os._exit(0)

    def complain(self, connection: socket.socket, error: Exception) -> None:
        """Answer an order that made no sense."""
        try:
            connection.sendall(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        except OSError:
            return

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order that is done at once."""
        match order["op"]:
            case "status":
                return self.status()
            case "unit":
                host = self.hosts[order["host"]]
                host.units[order["unit"]]  # a KeyError here is the answer
                told = json.dumps({"unit": order["unit"], "action": order["action"]}).encode() + b"\n"
                host.channel.send(told, socket.MSG_DONTWAIT)  # whole or not at all, and never waits for a frozen host
                return {"ok": True}
            case "add-host":
                self.add_late(host_from_json(order["host"]), order["files"])
                return {"ok": True}
            case "down":
                return {"ok": True}
            case unknown:
                raise ValueError(f"no order {unknown!r}")

    def add_late(self, spec: HostSpec, brought: dict[str, str] | None) -> None:
        """Make a host of a lab that runs; when that fails the lab is as it was."""
        if spec.name in self.topology.hosts:
            raise ValueError(f"a host {spec.name!r} exists")
        before, self.topology = self.topology, self.topology.with_host(spec)
        try:
            self.add_host(spec, {}, brought)
            self.hosts[spec.name].wait_until_furnished()
        except Exception:
            self.topology = before
            self.plan.service_files.pop(spec.name, None)
            if made := self.hosts.get(spec.name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(made.pid, signal.SIGKILL)
                self.forget(made)
            raise

    def status(self) -> dict[str, Any]:
        """Return everything the lab knows about itself."""
        return {
            "committed": self.is_committed,
            "topology": to_json(self.topology),
            "hosts": {name: {"pid": host.pid, "units": list(host.units.values())} for name, host in self.hosts.items()},
        }

    def start_job(self, order: dict[str, Any], connection: socket.socket) -> None:
        """Fork a process that does an operator's work from inside, talking on `connection`."""
        pid = os.fork()
        if pid:
            self.jobs[pid] = order
            return
        code = 1
        try:
            self.orders.close()
            pids = {name: host.pid for name, host in self.hosts.items()}
            code = jobs.run(order, self.topology, self.plan, pids, connection)
        finally:
            os._exit(code)


def main() -> None:
    """Run the lab described by the plan file in argv[1]."""
    plan = Plan.read(sys.argv[1])
    os.umask(0o022)  # what the lab makes its other users read, whatever the user's own files are
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    lab = Init(plan)
    lab.bring_up_hosts()
    lab.serve()


if __name__ == "__main__":
    main()
