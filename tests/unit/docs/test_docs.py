"""What the documentation names is there: functions, files, sections, make targets, commands."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/**/*.md")]
    if not any(part.startswith(".") or part.endswith(".egg-info") for part in path.relative_to(ROOT).parts)
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FUNCTION = re.compile(r"`((?:mesh|lab|tests|demo-services)/[\w/.-]+\.py):([A-Za-z_][\w.]*)`")
FILE = re.compile(r"`((?:mesh|lab|tests|demo-services|docs|requirements)/[\w/.-]+\.\w+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"(?:^|[`( ])make ([a-z][a-z0-9-]*)(?=[`\s),.;:]|$)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`|-- |bin/|; )(mesh|lab) ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?", re.MULTILINE)
MACHINE = re.compile(r"/(?:root|home|work|Users)/\w+|/tmp/\w+|\.\./shared")
CODE = re.compile(r"```.*?```|`[^`\n]+`|^    .+$", re.DOTALL | re.MULTILINE)


@cache
def names_of(path: Path) -> frozenset[str]:
    """Return what a Python file defines: functions, classes, methods as `Class.method`, constants."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        found |= _names(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in _names(inner)}
    return frozenset(found)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as the common renderers make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return frozenset(heading.strip().replace(" ", "-") for heading in plain)


def code_in(page: str) -> str:
    """Return the code of a page: blocks, indented lines and spans, each on lines of its own."""
    return "\n".join(CODE.findall((ROOT / page).read_text()))


@pytest.mark.parametrize("page", NAMES)
def test_every_function_named_exists(page: str) -> None:
    for file, name in FUNCTION.findall((ROOT / page).read_text()):
        assert (ROOT / file).is_file(), f"{page} names {file}"
        assert name in names_of(ROOT / file), f"{page} names {file}:{name}"


@pytest.mark.parametrize("page", NAMES)
def test_every_file_named_exists(page: str) -> None:
    absent = [file for file in FILE.findall((ROOT / page).read_text()) if not (ROOT / file).exists()]
    folder = (ROOT / page).parent
    assert not [file for file in absent if not (folder / file).exists()], f"{page} names files that are not there"


def test_the_architecture_names_the_path() -> None:
    named = FUNCTION.findall((ROOT / "docs/architecture.md").read_text())
    assert len(named) > 80, "the life of a request, an intention, an identity and make up, by function name"


@pytest.mark.parametrize("page", NAMES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        found = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert found.exists(), f"{page} links to {target}"
        assert found.is_relative_to(ROOT), f"{page} links out of the project: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors_of(found), f"{page} links to {target}; there are {sorted(anchors_of(found))}"


@pytest.mark.parametrize("page", NAMES)
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(MAKE.findall(code_in(page)))
    assert named <= targets, f"{page} names make targets that are not there: {named - targets}"


def _commands() -> dict[str, click.Group]:
    from lab.cli.main import cli
    from mesh.cli.main import mesh

    return {"lab": cli, "mesh": mesh}


@pytest.mark.parametrize("page", NAMES)
def test_every_command_exists(page: str) -> None:
    groups = _commands()
    for program, verb, more in COMMAND.findall(code_in(page)):
        context = click.Context(groups[program])
        command = groups[program].get_command(context, verb)
        assert command is not None, f"{page}: {program} {verb}"
        if isinstance(command, click.Group) and more:
            assert command.get_command(context, more) is not None, f"{page}: {program} {verb} {more}"


@pytest.mark.parametrize("page", NAMES)
def test_no_page_knows_the_machine_it_was_written_on(page: str) -> None:
    assert not MACHINE.findall((ROOT / page).read_text())


def test_every_page_can_be_found_from_the_index() -> None:
    linked: set[Path] = set()
    for page in PAGES:
        if page.name == "README.md":
            for target in LINK.findall(page.read_text()):
                linked.add((page.parent / target.partition("#")[0]).resolve())
    lost = [
        str(page.relative_to(ROOT))
        for page in ROOT.glob("docs/**/*.md")
        if page.name != "README.md" and page not in linked
    ]
    assert not lost, "no README links to these pages"


def test_every_shell_script_is_well_formed() -> None:
    for script in (ROOT / "lab" / "bootstrap.sh", ROOT / ".ci" / "run", ROOT / ".ci" / "engine"):
        subprocess.run(["sh" if script.suffix == ".sh" else "bash", "-n", str(script)], check=True, timeout=10)
