"""`lab`: hosts up and down, a look at them, a command on one of them, a fault for a while."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lab import choice, data_planes, keeper
from lab.cli import breaking, checking, compiling, images, output
from lab.driver import Driver, LabError, checkout
from mesh.base.durations import format_duration, parse_duration
from mesh.base.errors import ConfigError
from mesh.base.names import require_label

EXIT_FAILED = 1
EXIT_USAGE = 2


class Context:
    """What every verb gets: which lab, which driver was asked for, how to print."""

    def __init__(self, lab: str, form: str, said: str = "") -> None:
        self.lab = lab
        self.form = form
        self.said = said

    @property
    def choice(self) -> choice.Choice:
        """Return the driver to take, and why."""
        return choice.chosen(self.lab, self.said)

    @property
    def driver(self) -> Driver:
        """Return the driver of this lab.

        Raises:
            LabError: LAB= names another one than the lab was started with.
        """
        choice.require_same(self.choice.name if self.said else "", choice.remembered(self.lab))
        return choice.driver(self.choice.name, self.lab)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed or not well, 2 usage, 5 preflight refused, 124 timed out. "
    "`lab exec` ends with the exit code of its command.",
)
@click.option(
    "--lab", "lab_name", default="default", envvar="LAB_NAME", show_default=True, help="which lab [env: LAB_NAME]"
)
@click.option(
    "--driver",
    "said",
    default="",
    envvar="LAB",
    help="what makes the hosts: netns, compose or vagrant [env: LAB; default: what the lab was started with]",
)
@click.option(
    "--output",
    "-o",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="how to print",
)
@click.version_option(package_name="meshyard")
@click.pass_context
def cli(context: click.Context, lab_name: str, form: str, said: str) -> None:
    """Hosts for a mesh: bring them up, look at them, break them, take them down."""
    require_label(lab_name, "lab")
    context.obj = Context(lab_name, form, said)


@cli.command()
@click.option("--topology", "topology_file", type=click.Path(path_type=Path), default=None, help="a topology file")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="change a setting: --set leaf_ttl=10s")
@click.option("--hosts", envvar="LAB_HOSTS", default="", help="only these, with commas [env: LAB_HOSTS]")
@click.option(
    "--sidecar",
    envvar="SIDECAR",
    default="",
    help="the data plane: python, compiled, envoy, or HOST=envoy,HOST=python [env: SIDECAR; default: the topology's]",
)
@click.option("--timeout", default="", help="how long to wait for the slowest gate [default: 60s; VMs get longer]")
@output.form
@click.pass_obj
def up(
    context: Context, topology_file: Path | None, settings: tuple[str, ...], hosts: str, sidecar: str, timeout: str
) -> None:
    """Start the lab; returns when every gate is green. A second time it only says so."""
    from lab.topology import load

    taken = context.choice
    driver = choice.driver(taken.name, context.lab)
    topology = load(topology_file or checkout() / "lab" / "topology.yaml", dict(_setting(item) for item in settings))
    if hosts:
        topology = topology.only(hosts.split(","))
    topology = topology.with_sidecars(sidecar)
    data_planes.require_driver(topology, taken.name)
    choice.require_free(context.lab, taken)
    if driver.is_up():
        if (topology_file or settings or hosts or sidecar) and not driver.is_made_of(topology):
            end = f"lab --lab {context.lab} down"
            raise LabError(f"the lab {context.lab!r} is up, made otherwise; end it first: {end}", exit_code=EXIT_USAGE)
        output.say(f"the lab {context.lab!r} is up already")
        return _announce(context, driver.status(), None)
    checking.require_machine(taken.name, topology, has_fixed_ports=context.lab == "default")
    output.say(f"starting {len(topology.hosts)} hosts on {choice.DRIVERS[taken.name]}: {taken.why}")
    with choice.noted(context.lab, taken.name):
        took = output.follow(driver.up(topology, timeout_s=parse_duration(timeout) if timeout else driver.patience_s))
    return _announce(context, driver.status(), took)


def _setting(item: str) -> tuple[str, str]:
    key, found, value = item.partition("=")
    if not found:
        raise click.UsageError(f"--set {item}: no value; right would be: --set leaf_ttl=10s")
    return key, value


def _announce(context: Context, status: dict[str, Any], took: float | None) -> None:
    if context.form == "json":
        return output.as_json({**status, "took_s": took})
    rows = [(h["name"], h["address"], h["datacenter"], h["service"] or h["role"]) for h in status["hosts"]]
    output.table(("HOST", "ADDRESS", "DATACENTER", "RUNS"), rows)
    for name, url in status["urls"].items():
        output.data(f"{name:18} {url}")
    if took is not None:
        output.say(f"every gate is green after {took:.1f} s")
    output.say("next: make demo" if context.lab == "default" else f"next: lab --lab {context.lab} status")
    return None


@cli.command()
@click.pass_obj
def down(context: Context) -> None:
    """End the lab. Nothing of it remains; safe to say twice, and after a crash."""
    context.driver.down()
    choice.forget(context.lab)
    output.say(f"the lab {context.lab!r} is down; nothing of it remains")


@cli.command()
@output.form
@click.pass_obj
def status(context: Context) -> None:
    """Show the hosts and what runs on them."""
    driver = context.driver
    faults = keeper.kept(driver)
    found = {**driver.status(), "faults": [record.order.name for record in faults]}
    if context.form == "json":
        return output.as_json(found)
    rows = []
    for host in found["hosts"]:
        named = {"sidecar": f"sidecar({host['sidecar']})"} if host["sidecar"] != "python" else {}
        units = "  ".join(f"{named.get(unit['name'], unit['name'])}:{unit['state']}" for unit in host["units"])
        rows.append(
            (
                host["name"],
                host["address"],
                host["datacenter"],
                host["service"] or host["role"],
                units or "-" if host["pid"] else "dead",
            )
        )
    output.table(("HOST", "ADDRESS", "DATACENTER", "RUNS", "UNITS"), rows)
    for record in faults:
        output.say(f"broken on purpose: {record.order.name}, for another {format_duration(record.left_s)}")
    return None


@cli.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--user", default="app", show_default=True, help="app, agent, sidecar, other or root")
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(context: Context, user: str, host: str, command: tuple[str, ...]) -> None:
    """Run a command on a host as its application.

    Standard input, standard output and the exit code pass through: lab exec order-1 -- python -c 'print(1)'.
    """
    given = list(command[1:] if command[0] == "--" else command)
    if not given:
        raise click.UsageError("no command; right would be: lab exec order-1 -- id")
    argv = context.driver.command_for(host, given, user=user)
    os.execvp(argv[0], argv)  # noqa: S606 - stdin, stdout and the exit code pass through untouched


@cli.command()
@click.option("--user", default="app", show_default=True)
@click.argument("host")
@click.pass_obj
def shell(context: Context, user: str, host: str) -> None:
    """Open a shell on a host."""
    argv = context.driver.command_for(host, ["env", f"PS1={user}@{host}$ ", "TERM=xterm", "sh"], user=user)
    os.execvp(argv[0], argv)  # noqa: S606


@cli.command()
@click.option("--lines", "-n", default=50, show_default=True)
@click.option("--unit", default=None, help="control-plane, redirect, agent, sidecar, probe, app or access")
@click.argument("host")
@click.pass_obj
def logs(context: Context, host: str, unit: str | None, lines: int) -> None:
    """Print what the units of a host said.

    --unit access is the sidecar's access log.
    """
    driver = context.driver
    known = {item["name"]: [unit["name"] for unit in item["units"]] for item in driver.status()["hosts"]}
    if host not in known:
        raise LabError(f"no host {host!r}; there are: {', '.join(known)}", exit_code=EXIT_USAGE)
    for name in [unit] if unit else known[host]:
        text = driver.logs(host, name, lines=lines)
        if not unit:
            output.say(f"== {host} {name}")
        output.data(text.rstrip("\n"))


cli.add_command(breaking.break_)
cli.add_command(breaking.heal)
cli.add_command(checking.check)
cli.add_command(compiling.compile_)
cli.add_command(images.images)
cli.add_command(images.bundle)
cli.add_command(images.purge)


@cli.command()
@click.option("--service-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--datacenter", default="east", show_default=True)
@click.argument("host")
@click.pass_obj
def add(context: Context, host: str, service_dir: Path, datacenter: str) -> None:
    """Add a host with a new service to the running lab.

    The folder holds app.py, service.hcl and intentions.hcl.
    """
    from lab.add import spec_of

    driver = context.driver
    spec = spec_of(driver.status(), host, service_dir, datacenter)
    took = output.follow(driver.add_host(spec, timeout_s=driver.patience_s))
    output.say(f"{host} is part of the mesh after {took:.1f} s")


@cli.command()
@output.form
@click.pass_obj
def demo(context: Context) -> None:
    """Place an order and tell the story of its calls.

    Hop by hop, from what the sidecars wrote into their access logs.
    """
    from lab.story import tell

    told = tell(context.driver)
    if context.form == "json":
        output.as_json(told.as_json())
    else:
        output.data(told.as_text())
    if not told.is_complete:
        sys.exit(EXIT_FAILED)


@cli.command()
@click.argument("shell_name", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell_name: str) -> None:
    """Print the completion script of a shell.

    Use it with: source <(lab completion bash)
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell_name)
    assert kind is not None
    output.data(kind(cli, {}, "lab", "_LAB_COMPLETE").source())


def _tidy_up_when_ended() -> None:
    """Let `timeout`, a CI that gives up and a terminal that closes end a command as Ctrl-C does: with what it began."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupted)


def _interrupted(number: int, _: FrameType | None) -> None:
    # Often both come, and the second must not end the tidying up.
    for again in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _exit_code(abort: click.exceptions.Abort) -> int:
    """Return what a shell would say of the signal that ended the command."""
    cause = abort.__cause__
    return 128 + (cause.args[0] if cause is not None and cause.args else signal.SIGINT)


def main() -> None:
    """Run `lab`; every error is one message and an exit code."""
    output.accept_any_terminal()
    _tidy_up_when_ended()
    try:
        cli.main(prog_name="lab", standalone_mode=False)
    except click.exceptions.Abort as abort:
        output.say("interrupted")
        sys.exit(_exit_code(abort))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except ConfigError as error:
        output.say(f"lab: {error.explain()}")
        sys.exit(EXIT_USAGE)
    except LabError as error:
        output.say(f"lab: {error}")
        sys.exit(error.exit_code)
