"""Promise 11, config: what is wrong is refused with its place and what would be right, before any proxy sees it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.cli.main import main as lab_main
from lab.driver import checkout
from mesh.api.client import MeshClient
from mesh.cli.main import main as mesh_main
from tests.e2e.kit import Lab

LAB_HOSTS = ("cp-1", "order-1", "makeline-1")
KINDS = ("service-intentions", "service-defaults", "proxy-defaults", "service-router")
TICKETS = "http://makeline-service:8080/tickets"
BIN = Path(sys.prefix) / "bin"

ROW = '  { Name = "order-service", Action = "allow" },'
ROUTE = """Kind = "service-router"
Name = "makeline-service"
Routes = [
  {
    Match { HTTP { PathPrefix = "/later" } }
    Destination { %s }
  },
]
"""


def open_to(*rows: str) -> str:
    """Return an entry that would change who may call makeline-service."""
    return "\n".join(['Kind = "service-intentions"', 'Name = "makeline-service"', "Sources = [", *rows, "]", ""])


# name of the file, its text, place of the fault, what stands under the caret, reason, what would be right
FAULTS = [
    pytest.param("a.hcl", open_to('  { Name = "pulse-service", Action = }'), "4:38", "}", "expected a value",
                 "a value after the key", id="a broken file"),
    pytest.param("a.hcl", open_to(ROW)[:-2], "3:11", "[", "not closed", "']'", id="a list that never ends"),
    pytest.param("a.json", '{"Kind": "service-intentions", "Name": }', "1:40", "}", "expected a value",
                 "a value after the key", id="broken JSON"),
    pytest.param("a.hcl", open_to('  { Name = "pulse-service", Acton = "allow" },'), "4:29", "A", "unknown key",
                 "did you mean Action?", id="an unknown key"),
    pytest.param("a.hcl", open_to('  { Name = "pulse-service", Action = "alow" },'), "4:38", '"', '"alow"',
                 '"allow" or "deny"', id="an unknown action"),
    pytest.param("a.hcl", open_to('  { Name = "*", Action = "allow" },', ROW), "5:3", "{", "can never match",
                 "which comes last", id="the wildcard first"),
    pytest.param("a.hcl", open_to(ROW, ROW), "5:3", "{", "order-service", "", id="one source twice"),
    pytest.param("a.hcl", ROUTE % 'RequestTimeout = "5 parsecs"', "6:36", '"', "'5 parsecs' is not one",
                 '"250ms"', id="a wrong duration"),
    pytest.param("a.hcl", ROUTE % 'Service = "no-such-service"', "4:3", "{", "no one registered or declared",
                 "the name of a service", id="a dangling reference"),
    pytest.param("a.hcl", 'Kind = "service-resolver"\nName = "a"\n', "1:8", '"', "not implemented",
                 "service-router", id="a kind of Consul that is not supported"),
    pytest.param("a.hcl", 'Kind = "service-intention"\nName = "a"\n', "1:8", '"', "service-intention",
                 "service-intentions", id="a kind nobody knows"),
    pytest.param("a.json", '{"Kind":' * 5000, "1:257", "{", "nest deeper than 32", "", id="nesting without end"),
]  # fmt: skip


def in_force(lab: Lab) -> dict[str, Any]:
    """Return every entry with its index, and what each proxy was sent and has taken."""

    async def ask() -> dict[str, Any]:
        async with MeshClient(lab.driver.operator_address()) as mesh:
            entries = [entry for kind in KINDS for entry in await mesh.list_config(kind)]
            return {"entries": entries, "proxies": await mesh.proxies(), "index": (await mesh.status())["index"]}

    return asyncio.run(ask())


def caret_character(complaint: str) -> str:
    """Return the character that the first caret points at."""
    lines = complaint.splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip() == "^")
    return lines[at - 1][lines[at].index("^")]


@pytest.mark.parametrize(("name", "text", "place", "under", "reason", "right"), FAULTS)
def test_01_a_faulty_file_is_refused_with_its_place_and_nothing_is_written(
    lab: Lab, tmp_path: Path, name: str, text: str, place: str, under: str, reason: str, right: str
) -> None:
    before = in_force(lab)
    done = lab.write_config(text, tmp_path, name)
    assert done.exit_code == 1
    assert done.stdout == ""
    _, found, complaint = done.stderr.partition(f"{tmp_path / name}:{place}: ")
    assert found, done.stderr
    assert caret_character(complaint) == under, done.stderr
    assert reason in complaint
    assert right in complaint
    assert in_force(lab) == before


def test_02_the_same_is_said_without_a_control_plane(tmp_path: Path) -> None:
    spanning = {"a dangling reference"}  # errors between entries: no place in a file that is checked alone
    for number, fault in enumerate(fault for fault in FAULTS if fault.id not in spanning):
        name, text, place, _, reason, right = fault.values
        (tmp_path / f"{number}-{name}").write_text(str(text))
    files = sorted(tmp_path.iterdir())
    done = run("mesh", "validate", *map(str, files))
    assert done.returncode == 1
    for number, fault in enumerate(fault for fault in FAULTS if fault.id not in spanning):
        name, _, place, _, reason, right = fault.values
        complaint = done.stderr.partition(f"{tmp_path}/{number}-{name}:{place}: ")[2].partition("error: ")[0]
        assert reason in complaint, (fault.id, done.stderr)
        assert right in complaint
    shape = json.loads(run("mesh", "validate", "--output", "json", *map(str, files)).stdout)
    assert shape["valid"] is False
    assert {error["path"] for error in shape["errors"]} == {str(file) for file in files}


def test_03_a_file_is_taken_whole_or_not_at_all(lab: Lab, tmp_path: Path) -> None:
    before = in_force(lab)
    good = (
        'config_entries { bootstrap = [\n  { Kind = "service-defaults", Name = "extra-service", Protocol = "http" },\n'
    )
    done = lab.write_config(
        good + '  { Kind = "service-defaults", Name = "other-service", Protocol = "htp" },\n] }\n', tmp_path, "two.hcl"
    )
    assert done.exit_code == 1
    assert "two.hcl:3:" in done.stderr
    assert in_force(lab) == before


def test_04_a_name_that_nobody_has_is_pointed_out_and_may_be_early(lab: Lab, tmp_path: Path) -> None:
    original = Path("demo-services/makeline-service/intentions.hcl").read_text()
    early = original.replace('"*", ', '"odrer-service", Action = "deny" },\n  { Name = "*", ')
    try:
        done = lab.write_config(early, tmp_path)
        assert done.exit_code == 0
        assert "warning: " in done.stderr
        assert '"odrer-service", which no one registered or declared' in done.stderr
    finally:
        assert lab.write_config(original, tmp_path).exit_code == 0


def test_05_what_is_needed_is_not_deleted(lab: Lab, tmp_path: Path) -> None:
    later = 'Kind = "service-defaults"\nName = "later-service"\nProtocol = "http"\n'
    try:
        assert lab.write_config(later, tmp_path).exit_code == 0
        assert lab.write_config(ROUTE % 'Service = "later-service"', tmp_path).exit_code == 0, "now it dangles no more"
        before = in_force(lab)
        refused = lab.mesh("config", "delete", "service-defaults", "later-service")
        assert refused.exit_code == 1
        assert "later-service" in refused.stderr
        assert lab.mesh("config", "delete", "service-defaults", "nobody").exit_code == 1
        assert in_force(lab)["entries"] == before["entries"]
    finally:
        assert lab.mesh("config", "delete", "service-router", "makeline-service").exit_code == 0
        assert lab.mesh("config", "delete", "service-defaults", "later-service").exit_code == 0


def test_06_the_policy_in_force_is_still_the_first(lab: Lab) -> None:
    """None of the files above opened or shut a door."""
    assert lab.http("order-1", "GET", TICKETS).status == 200
    assert lab.mesh("intention", "check", "pulse-service", "makeline-service").exit_code == 0
    assert lab.mesh("intention", "check", "ledger-service", "makeline-service").exit_code == 1
    assert lab.http("makeline-1", "GET", TICKETS).status == 403


# ------------------------------------------------------------------------------------------ the commands themselves


def run(command: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `mesh` or `lab` as a person would."""
    return subprocess.run(
        [str(BIN / command), *argv],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=checkout(),
        env={**os.environ, **env},
    )


def quick(command: str, argv: list[str], **env: str) -> tuple[int, str, str]:
    """Do what `run` does in this process, for tables of many: a start of Python costs more than the command."""
    main = {"mesh": mesh_main, "lab": lab_main}[command]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", [command, *argv])
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            code = main() or 0
        except SystemExit as ended:
            code = ended.code or 0
    return int(code), out.getvalue(), err.getvalue()


MESH_USAGE = [
    ["frobnicate"],
    ["config", "read", "service-resolver", "a"],
    ["config", "write"],
    ["token", "create", "--service", "a", "--host", "b", "--ttl", "5x"],
    ["intention", "check", "a", "b", "--header", "no-colon"],
    ["catalog", "services", "--address", "gopher://a"],
]
LAB_USAGE = [
    ["frobnicate"],
    ["up", "--set", "leaf_ttl"],
    ["up", "--set", "leaf_ttl=potato"],
    ["up", "--set", "potato=1"],
    ["exec", "no-such-host", "--", "id"],
    ["exec", "--user", "nobody", "order-1", "--", "id"],
    ["exec", "order-1"],
    ["break", "frost", "order-1"],
    ["break", "kill", "order-1"],
    ["break", "kill", "order-1", "--unit", "app", "--for", "99h"],
]


def test_07_usage_that_is_wrong_ends_with_2_and_says_what_is_right(lab: Lab) -> None:
    for argv in MESH_USAGE:
        code, out, err = quick("mesh", argv, MESH_ADDRESS=lab.driver.operator_address())
        assert (code, out) == (2, ""), (argv, err)
        assert err
    for argv in LAB_USAGE:
        name = "no-such-lab" if argv[0] == "up" else lab.driver.lab_name
        code, out, err = quick("lab", argv, LAB_NAME=name)
        assert (code, out) == (2, ""), (argv, err)
        assert err
    assert run("lab", "exec", "order-1", "--", "sh", "-c", "exit 7", LAB_NAME=lab.driver.lab_name).returncode == 7


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        pytest.param("hosts: [\n", "2:1", "expected the node content", id="broken YAML"),
        pytest.param("- a\n", "1:1", "the file is no mapping", id="a list"),
        pytest.param("%shosts:\n  a:\n    adress: x\n", "7:5", "unknown key 'adress'", id="an unknown key"),
        pytest.param("%shosts:\n  a:\n    datacenter: north\n", "7:5", "no known datacenter", id="an unknown place"),
        pytest.param("%shosts:\n  a: {datacenter: east, address: 10.77.1.9, service: b}\n", "5:1", "exactly one",
                     id="no control plane"),
    ],
)  # fmt: skip
def test_08_a_broken_topology_starts_nothing(tmp_path: Path, text: str, place: str, reason: str) -> None:
    path = tmp_path / "topology.yaml"
    start = "trust_domain: a.b\nnamespace: c\ndatacenters:\n  east: 10.77.1.0/24\n"
    path.write_text(text.replace("%s", start))
    name = f"test-broken-{os.getpid()}"
    done = run("lab", "up", "--topology", str(path), LAB_NAME=name)
    assert (done.returncode, done.stdout) == (2, "")
    _, found, complaint = done.stderr.partition(f"{path}:{place}: ")
    assert found, done.stderr
    assert reason in complaint
    assert ("^" in complaint) == (int(place.partition(":")[0]) <= len(path.read_text().splitlines()))
    assert not (checkout() / ".lab" / name).exists()


def test_09_each_exit_code_means_what_is_written(lab: Lab, tmp_path: Path) -> None:
    address = lab.driver.operator_address()
    assert run("mesh", "catalog", "services", MESH_ADDRESS=address).returncode == 0
    assert run("mesh", "config", "read", "service-router", "nobody", MESH_ADDRESS=address).returncode == 1
    for nowhere in (f"unix://{tmp_path}/nobody.sock", "http://127.0.0.1:1"):
        done = run("mesh", "catalog", "services", MESH_ADDRESS=nowhere)
        assert done.returncode == 4
        assert "right would be" in done.stderr
    preflight = run("lab", "up", LAB_NAME=f"test-preflight-{os.getpid()}", PATH=str(tmp_path))
    assert preflight.returncode == 5
    assert "mend it with" in preflight.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = run("mesh", "probe", "--address", "127.0.0.1", "--port", str(port), "--timeout", "10ms")
    assert done.returncode == 124
    assert run("lab", "status", LAB_NAME="no-such-lab").returncode == 1


LISTS = [
    *(["mesh", "config", "list", kind] for kind in KINDS),
    ["mesh", "config", "read", "service-intentions", "makeline-service"],
    ["mesh", "intention", "list"],
    ["mesh", "intention", "check", "order-service", "makeline-service"],
    ["mesh", "catalog", "services"],
    ["mesh", "catalog", "instances"],
    ["mesh", "proxy", "status"],
    ["mesh", "ca", "roots"],
    ["mesh", "validate", "demo-services/makeline-service/intentions.hcl"],
    ["lab", "status"],
    ["lab", "check"],
]


def test_10_data_is_json_for_programs_and_a_table_for_people(lab: Lab) -> None:
    env = {"MESH_ADDRESS": lab.driver.operator_address(), "LAB_NAME": lab.driver.lab_name}
    for command, *argv in LISTS:
        code, out, err = quick(command, [*argv, "--output", "json"], **env)
        assert code == 0, (argv, err)
        assert json.loads(out)
    for argv in (["mesh", "catalog", "instances"], ["lab", "status"]):
        done = run(*argv, **env, NO_COLOR="1")
        assert "makeline-1" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["mesh", "lab"])
def test_11_each_shell_gets_its_completion(command: str) -> None:
    for shell in ("zsh", "fish", "bash"):
        code, script, _ = quick(command, ["completion", shell])
        assert code == 0
        assert f"_{command.upper()}_COMPLETE" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
