"""docs/reference says what the code reads: each example is loaded, each table has exactly the keys that are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.base.errors import ConfigErrors
from mesh.config.load import load_text

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGE = (REFERENCE / "config-entries.md").read_text(encoding="utf-8")
EXAMPLES = [
    pytest.param(example, id=f"{name} {number}")
    for name in ("config-entries.md", "intentions.md")
    for number, example in enumerate(
        re.findall(r"^```hcl\n(.*?)^```", (REFERENCE / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL), 1
    )
]

INTENTIONS = 'Kind = "service-intentions" Name = "a" Sources = [{ Name = "b", '
PERMISSION = INTENTIONS + 'Permissions { Action = "deny", HTTP { '
DEFAULTS = 'Kind = "service-defaults" Name = "a" '
UPSTREAM = DEFAULTS + 'UpstreamConfig { Overrides { Name = "b" '
ROUTE = 'Kind = "service-router" Name = "a" Routes { '

# Where an unknown key makes the reader tell which keys it knows; the heading is the block in the reader's own words.
PLACES = {
    "service": 'service { name = "a" port = 1 zzzz = 1 }',
    "connect": 'service { name = "a" port = 1 connect { zzzz = 1 } }',
    "check": 'service { name = "a" port = 1 check { ttl = "9s" zzzz = 1 } }',
    "service-intentions": 'Kind = "service-intentions" Name = "a" Sources { Name = "b" Action = "deny" } zzzz = 1',
    "a source of intentions": INTENTIONS + 'Action = "deny", zzzz = 1 }]',
    "a permission": INTENTIONS + 'Permissions { Action = "deny", HTTP { PathExact = "/" }, zzzz = 1 } }]',
    "an HTTP match": PERMISSION + 'PathExact = "/", zzzz = 1 } } }]',
    "a header match": PERMISSION + 'Header { Name = "x", Present = true, zzzz = 1 } } } }]',
    "service-defaults": DEFAULTS + "zzzz = 1",
    "UpstreamConfig": DEFAULTS + "UpstreamConfig { zzzz = 1 }",
    "an override of UpstreamConfig": UPSTREAM + "zzzz = 1 } }",
    "the limits of an upstream": UPSTREAM + "Limits { zzzz = 1 } } }",
    "PassiveHealthCheck": UPSTREAM + "PassiveHealthCheck { zzzz = 1 } } }",
    "proxy-defaults": 'Kind = "proxy-defaults" Name = "global" zzzz = 1',
    "the Config of proxy-defaults": 'Kind = "proxy-defaults" Name = "global" Config { zzzz = 1 }',
    "service-router": 'Kind = "service-router" Name = "a" zzzz = 1',
    "a route": ROUTE + "zzzz = 1 }",
    "the Match of a route": ROUTE + "Match { zzzz = 1 } }",
    "the Destination of a route": ROUTE + "Destination { zzzz = 1 } }",
}


def documented_keys(heading: str) -> set[str]:
    """Return the keys of the table below a heading."""
    section = PAGE.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_read(example: str) -> None:
    loaded = load_text(example, "example.hcl")
    assert loaded.entries or loaded.services


@pytest.mark.parametrize("heading", PLACES)
def test_every_table_has_the_keys_that_are_known(heading: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        load_text(PLACES[heading], "f.hcl")
    (error,) = refused.value.errors
    known = error.right.split("known keys: ", 1)[1].split(", ")
    assert documented_keys(heading) == set(known)


def test_no_table_is_left_out() -> None:
    assert set(re.findall(r"^### (.+)$", PAGE, re.MULTILINE)) == set(PLACES)
