"""The roles as data: defaults with their comments, argument specs, README tables, rendered templates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from jinja2.nativetypes import NativeEnvironment
from ruamel.yaml import YAML

from lab.driver import checkout

ROLES = sorted(path for path in (checkout() / "ansible" / "roles").iterdir() if path.is_dir())
UNITS = sorted(path for role in ROLES for path in role.glob("templates/*.service.j2"))


def read(path: Path) -> Any:
    """Return a YAML file as plain values."""
    return YAML(typ="safe").load(path.read_text())


def defaults(role: Path) -> dict[str, Any]:
    """Return the knobs of a role."""
    return dict(read(role / "defaults" / "main.yml"))


def constants(role: Path) -> dict[str, Any]:
    """Return what a role has fixed for itself."""
    return dict(read(role / "vars" / "main.yml"))


def comments(role: Path) -> dict[str, str]:
    """Return the comment directly above each knob."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in (role / "defaults" / "main.yml").read_text().splitlines():
        if line.startswith("# "):
            above.append(line[2:])
        elif knob := re.match(r"(\w+):", line):
            found[knob[1]] = " ".join(above)
            above = []
        elif not line.strip():
            above = []
    return found


def specs(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of each entry point of a role."""
    told = read(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: entry["options"] for name, entry in told.items()}


def table(role: Path) -> dict[str, list[str]]:
    """Return the README's rows: knob -> type, default, what it says."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+) \|$", (role / "README.md").read_text(), re.MULTILINE)
    return {name: [kind, default, text] for name, kind, default, text in rows}


def rendered(template: Path) -> str:
    """Return a unit as a host with every default gets it."""
    values = {
        "ansible_managed": "Ansible managed",
        "inventory_hostname": "payment-1",
        **defaults(template.parents[1]),
        "demo_service_name": "payment-service",
    }
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(
        template.read_text()
    ).render(values)  # fmt: skip


def evaluated(expression: str, **values: Any) -> Any:
    """Return what an expression of a task is worth; it may use what Jinja has, and the few filters of Ansible below."""
    environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters |= {"basename": lambda path: Path(path).name, "regex_escape": re.escape}
    return environment.from_string(expression).render(values)
