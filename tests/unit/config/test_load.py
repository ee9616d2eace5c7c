"""Whole files: every form that holds entries, and every fault at its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import ConfigErrors
from mesh.config.entries import Action, Protocol, ProxyDefaults, ServiceDefaults, ServiceIntentions
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of

INTENTIONS = """
Kind = "service-intentions"
Name = "payment-service"
Sources = [
  { Name = "order-service", Action = "allow" },
  { Name = "*", Action = "deny" },
]
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(INTENTIONS, id="Consul's usual spelling"),
        pytest.param(
            'kind = "service-intentions" name = "payment-service"\n'
            'sources { name = "order-service" action = "allow" }\nsources { name = "*" action = "deny" }',
            id="snake case and repeated blocks",
        ),
        pytest.param(
            json.dumps(
                {
                    "KIND": "service-intentions",
                    "Name": "payment-service",
                    "Sources": [{"name": "order-service", "Action": "allow"}, {"Name": "*", "action": "deny"}],
                    "Meta": None,
                }
            ),
            id="JSON, any case, null as not said",
        ),
        pytest.param("config_entries { bootstrap = [{" + INTENTIONS + "}] }", id="bootstrap as a list"),
        pytest.param("config_entries { bootstrap {" + INTENTIONS + "} }", id="bootstrap as a block"),
    ],
)
def test_every_form_of_one_entry(text: str) -> None:
    (entry,) = load_text(text, "f.hcl").entries
    assert isinstance(entry, ServiceIntentions)
    assert [(row.name, row.action, row.precedence) for row in entry.sources] == [
        ("order-service", Action.ALLOW, 9),
        ("*", Action.DENY, 8),
    ]


def test_several_entries_in_their_order() -> None:
    text = """
    config_entries {
      bootstrap { kind = "proxy-defaults" name = "global" config { protocol = "http" } }
      bootstrap { kind = "service-defaults" name = "ledger-service" protocol = "tcp" }
    }
    """
    first, second = load_text(text, "f.hcl").entries
    assert isinstance(first, ProxyDefaults)
    assert first.protocol is Protocol.HTTP
    assert isinstance(second, ServiceDefaults)
    assert second.at.line == 4


def test_a_json_list_of_entries() -> None:
    text = '[{"Kind": "service-defaults", "Name": "a"}, {"Kind": "service-defaults", "Name": "b"}]'
    assert [entry.name for entry in load_text(text, "f.json").entries] == ["a", "b"]


def test_services_beside_entries() -> None:
    text = 'service { name = "a" port = 1 }\nservices = [{ name = "b" port = 2 }]\nconfig_entries {}'
    assert [(service.name, service.port) for service in load_text(text, "f.hcl").services] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param("", ["1:1 the file says nothing"], id="an empty file"),
        pytest.param("a = ", ["1:5 expected a value, found the end of the file"], id="a file that cannot be read"),
        pytest.param(
            'Kind = "service-resolver"\nName = "a"',
            ['1:8 Kind "service-resolver" is known to Consul and not implemented by Meshyard'],
            id="a kind of Consul's",
        ),
        pytest.param('Kind = "service-intention"', ['1:8 Kind "service-intention" is not known'], id="an unknown kind"),
        pytest.param("Kind = 3", ["1:8 Kind in a config entry is the number 3"], id="a kind that is no string"),
        pytest.param(
            'datacenter = "east"',
            ['1:1 "datacenter" is a key of Consul\'s agent and not read by Meshyard'],
            id="a key of Consul's agent",
        ),
        pytest.param("servise {}", ['1:1 unknown key "servise" at the top of the file'], id="an unknown key"),
        pytest.param("[1]", ["1:2 a list of entries holds the number 1"], id="a list of something else"),
        pytest.param('[{"Name": "a"}]', ["1:2 a config entry has no Kind"], id="an entry without a kind"),
        pytest.param(
            'Kind = "service-defaults"\nName = "a"\nName = "b"',
            ["3:1 Name is given twice in service-defaults, first in line 2"],
            id="a key twice",
        ),
        pytest.param(
            'Kind = "service-defaults"\nName = "a"\nname = "b"',
            ["3:1 Name is given twice in service-defaults, first in line 2"],
            id="a key twice, in two spellings",
        ),
        pytest.param(
            'service "a" { port = 1, name = "a" }',
            ['1:1 service "a" has a label, and no block of Meshyard takes one'],
            id="a label",
        ),
        pytest.param(
            'service { name = "a" port = 1 }\nservice { name = "a" port = 2 }',
            ['2:9 service "a" stands in line 1 already'],
            id="a service twice",
        ),
        pytest.param(
            '[{"Kind": "service-defaults", "Name": "a"},\n {"Kind": "service-defaults", "Name": "a"}]',
            ['2:2 service-defaults "a" stands in line 1 already'],
            id="an entry twice",
        ),
        pytest.param(
            "config_entries { bootstrap {} entries {} }",
            ["1:28 a config entry has no Kind", '1:31 unknown key "entries" in config_entries'],
            id="an unknown key beside bootstrap",
        ),
        pytest.param("service = 3", ["1:11 service in the file is the number 3"], id="a number for a block"),
    ],
)
def test_faults_of_a_file(text: str, errors: list[str]) -> None:
    assert errors_of(text) == errors


def test_all_faults_are_found_at_once_and_in_order() -> None:
    text = """
Kind = "service-intentions"
Nam = "payment-service"
Sources = [
  { Name = "*", Action = "alow" },
  { Name = "order-service" },
]
"""
    assert errors_of(text) == [
        "2:1 service-intentions has no Name",
        '3:1 unknown key "Nam" in service-intentions',
        '5:26 Action: "alow" is not known',
        '6:3 the source "order-service" has neither Action nor Permissions',
        '6:3 the row of "order-service" can never match: the row of "*" in line 5 is above it',
    ]


def test_an_error_is_shown_with_its_line_and_what_would_be_right() -> None:
    with pytest.raises(ConfigErrors) as refused:
        load_text('Kind = "service-defaults"\nName = "a"\nProtocl = "http"\n', "a.hcl")
    assert str(refused.value).startswith(
        'a.hcl:3:1: unknown key "Protocl" in service-defaults\n'
        '    Protocl = "http"\n'
        "    ^\n"
        "  right would be: did you mean Protocol? known keys: Kind, Name, "
    )


def test_a_broken_generator_does_not_get_a_book_back() -> None:
    text = 'Kind = "service-defaults"\nName = "a"\n' + "".join(f"x{n} = 1\n" for n in range(1000))
    assert len(errors_of(text)) == 50


keys = st.sampled_from(
    ["Name", "Sources", "Action", "Permissions", "HTTP", "Header", "Methods", "Protocol", "Routes", "Match", "Config"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["", "a", "*", "allow", "http", "/", "10s", "("]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
kinds = st.sampled_from(["service-intentions", "service-defaults", "proxy-defaults", "service-router"])


@pytest.mark.slow
@given(kinds, st.dictionaries(keys, values, max_size=5))
def test_whatever_stands_in_an_entry_it_is_read_or_refused(kind: str, members: dict[str, object]) -> None:
    try:
        load_text(json.dumps({**members, "Kind": kind}), "f.json")
    except ConfigErrors as refused:
        assert refused.errors  # noqa: PT017  # either way is right; what must not happen is any other exception


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=6), values, max_size=3))
def test_whatever_stands_in_a_service_it_is_read_or_refused(members: dict[str, object]) -> None:
    text = json.dumps({"service": members}, ensure_ascii=False)
    try:
        load_text(text, "f.json")
    except ConfigErrors as refused:
        assert refused.errors  # noqa: PT017  # as above
