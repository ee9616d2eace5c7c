"""The `mesh` command: the table of its verbs, and the one place where an error becomes an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from mesh.base.errors import ConfigError, MeshError
from mesh.cli.exits import FAILED, OK, TIMED_OUT, UNREACHABLE
from mesh.cli.lazy import LazyGroup
from mesh.cli.output import say

VERBS: dict[str, tuple[str, str]] = {
    "config": ("mesh.cli.config:config", "Write, read, list and delete config entries."),
    "validate": ("mesh.cli.config:validate", "Check files without a control plane."),
    "intention": ("mesh.cli.intention:intention", "Who may call whom, and by which rule."),
    "catalog": ("mesh.cli.catalog:catalog", "Services and their instances."),
    "proxy": ("mesh.cli.catalog:proxy", "How far each sidecar has come."),
    "ca": ("mesh.cli.catalog:ca", "The roots of the mesh, and their rotation."),
    "token": ("mesh.cli.catalog:token", "One-time tokens for hosts that join."),
    "redirect": ("mesh.cli.redirect:redirect", "Interception: iptables rules of this host."),
    "probe": ("mesh.cli.probe:probe", "Prove that a call comes back through this host's sidecar."),
    "control-plane": ("mesh.cli.processes:control_plane", "Run the control plane."),
    "agent": ("mesh.cli.processes:agent", "Run the agent of this host."),
    "sidecar": ("mesh.cli.processes:sidecar", "Run the sidecar of this host."),
    "completion": ("mesh.cli.completion:completion", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed or denied, 2 usage, 4 no control plane, 5 preflight, 124 timed out.",
)
@click.option("--output", type=click.Choice(["table", "json"]), help="How to print; may stand after the verb, too.")
@click.option("-v", "verbosity", count=True, help="-vv shows where in the program an error came from.")
@click.version_option(package_name="meshyard")
@click.pass_context
def mesh(ctx: click.Context, output: str | None, verbosity: int) -> None:
    """Meshyard: a whole service mesh that fits in one head."""
    ctx.obj = verbosity


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: without the program's name; None takes it from the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        answer = mesh.main(arguments, prog_name="mesh", standalone_mode=False)
        return answer if isinstance(answer, int) else OK
    except click.exceptions.Abort:
        say("interrupted")
        return FAILED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing more to say, to nobody
        return FAILED
    except (MeshError, TimeoutError) as error:
        if _is_very_verbose(arguments):
            raise
        say(error.explain() if isinstance(error, ConfigError) else f"mesh: {error}")
        return _code_of(error)


def _code_of(error: Exception) -> int:
    from mesh.api.client import UnreachableError

    if isinstance(error, UnreachableError):
        return UNREACHABLE
    return TIMED_OUT if isinstance(error, TimeoutError) else FAILED


def _is_very_verbose(arguments: Sequence[str]) -> bool:
    return "-vv" in arguments or arguments.count("-v") > 1


if __name__ == "__main__":
    sys.exit(main())
