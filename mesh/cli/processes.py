"""`mesh control-plane`, `mesh agent`, `mesh sidecar`: the processes of the mesh, each as a command one can type."""

from __future__ import annotations

from importlib import import_module

import click

from mesh.base.compiled import use_if_asked

_PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


def _process(name: str, module: str, line: str) -> click.Command:
    """Return the command that hands its arguments to the process's own `run`."""

    @click.command(name, context_settings=_PASS_ON, help=line)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        use_if_asked()
        raise click.exceptions.Exit(import_module(module).run(list(arguments)))

    return command


control_plane = _process("control-plane", "mesh.controlplane.main", "Run the control plane (--config FILE).")
agent = _process("agent", "mesh.agent.main", "Run the agent of this host (--config FILE).")
sidecar = _process("sidecar", "mesh.proxy.main", "Run the sidecar of this host (--bootstrap FILE).")
