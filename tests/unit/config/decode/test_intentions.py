"""service-intentions: the rules of one entry, each refused at its place."""

from __future__ import annotations

import pytest

from mesh.config.entries import Action, HeaderMatch, HttpMatch, ServiceIntentions
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of


def entry(rows: str, name: str = "payment-service") -> str:
    """Return a file with these rows, which begin in line 4."""
    return f'Kind = "service-intentions"\nName = "{name}"\nSources = [\n{rows}\n]'


PERMISSION = 'Permissions {{ Action = "deny" HTTP {{ PathExact = "/{}" }} }}\n'


def permission(http: str) -> str:
    return entry('{ Name = "a", Permissions = [{ Action = "allow", HTTP {\n' + http + "\n} }] }")


def test_a_whole_entry() -> None:
    text = """
Kind = "service-intentions"
Name = "payment-service"
Meta { team = "payments" }
Sources = [
  {
    Name        = "order-service"
    Description = "takes orders"
    Type        = "consul"
    Permissions = [
      {
        Action = "allow"
        HTTP {
          PathExact = "/charge"
          Methods   = ["post"]
          Header = [
            { Name = "X-Team", Exact = "orders", IgnoreCase = true },
            { Name = "x-debug", Present = true, Invert = true },
          ]
        }
      },
      { Action = "deny", HTTP { PathRegex = "/admin(/.*)?" } },
    ]
  },
  { Name = "*", Action = "deny", Precedence = 8 },
]
"""
    (read,) = load_text(text, "f.hcl").entries
    assert isinstance(read, ServiceIntentions)
    assert read.meta == {"team": "payments"}
    order, everybody = read.sources
    assert (order.description, order.precedence, everybody.precedence) == ("takes orders", 9, 8)
    assert [rule.action for rule in order.permissions] == [Action.ALLOW, Action.DENY]
    assert order.permissions[0].http == HttpMatch(
        path_exact="/charge",
        headers=(
            HeaderMatch("x-team", exact="orders", ignore_case=True),
            HeaderMatch("x-debug", present=True, invert=True),
        ),
        methods=("POST",),
    )
    assert order.permissions[1].http == HttpMatch(path_regex="/admin(/.*)?")
    assert (order.at.line, order.permissions[1].at.line) == (6, 22)


def test_a_wildcard_destination_has_precedence_of_its_own() -> None:
    (read,) = load_text(entry('{ Name = "a", Action = "allow" }, { Name = "*", Action = "deny" }', "*"), "f").entries
    assert isinstance(read, ServiceIntentions)
    assert [row.precedence for row in read.sources] == [6, 5]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param(entry(""), ["3:1 service-intentions has no Sources"], id="no source"),
        pytest.param(
            entry('{ Name = "*", Action = "deny" },\n{ Name = "a", Action = "allow" }'),
            ['5:1 the row of "a" can never match: the row of "*" in line 4 is above it'],
            id="a row after '*'",
        ),
        pytest.param(
            entry('{ Name = "a", Action = "deny" },\n{ Name = "a", Action = "allow" }'),
            ['5:1 the source "a" has a row in line 4 already'],
            id="a source twice",
        ),
        pytest.param(
            entry('{ Name = "*", Action = "deny" },\n{ Name = "*", Action = "allow" }'),
            ['5:1 the source "*" has a row in line 4 already'],
            id="'*' twice",
        ),
        pytest.param(
            entry('{ Name = "ord*", Action = "deny" }'),
            ['4:10 Name: "ord*" is a partial wildcard'],
            id="part of a name",
        ),
        pytest.param(
            entry('{ Name = "Order", Action = "deny" }'),
            ["4:10 Name: reading the name of a service: 'Order' is not a DNS label"],
            id="a capital",
        ),
        pytest.param(
            entry('{ Name = "a" }'), ['4:1 the source "a" has neither Action nor Permissions'], id="nothing said"
        ),
        pytest.param(
            entry('{ Name = "a", Action = "deny", Permissions { Action = "deny" HTTP { PathPrefix = "/" } } }'),
            ['4:1 the source "a" has both Action and Permissions'],
            id="both said",
        ),
        pytest.param(
            entry('{ Name = "a", Permissions = [] }'), ['4:15 the Permissions of "a" are empty'], id="no permission"
        ),
        pytest.param(
            entry('{ Name = "a", Permissions { Action = "deny" HTTP { PathPrefix = "/" } } }', "*"),
            ["4:15 Permissions on the destination '*', where it is not known what a service speaks"],
            id="permissions for every service",
        ),
        pytest.param(
            entry('{ Name = "a", Action = "deny", Precedence = 5 }'),
            ["4:45 Precedence is computed, and 9 here; it cannot be set"],
            id="a precedence of one's own",
        ),
        pytest.param(
            entry('{ Name = "a", Action = "deny", Namespace = "x" }'),
            ['4:32 "Namespace" in a source of intentions is known to Consul and not implemented by Meshyard'],
            id="a key of Consul's",
        ),
        pytest.param(
            entry('{ Name = "a", Action = "deny", Type = "other" }'), ["4:39 Type is not consul"], id="another type"
        ),
        pytest.param(
            entry('{ Name = "a", Permissions { HTTP { PathPrefix = "/" } } }'),
            ["4:27 a permission has no Action"],
            id="a permission without an action",
        ),
        pytest.param(
            entry('{ Name = "a", Permissions { Action = "deny" } }'),
            ["4:27 a permission has no HTTP block"],
            id="a permission without a match",
        ),
        pytest.param(
            entry(
                '{ Name = "a"\nPermissions { Action = "allow" HTTP { PathPrefix = "/" } }\n'
                'Permissions { Action = "deny" HTTP { PathExact = "/admin" } } }'
            ),
            ["6:13 this permission can never match: the one in line 5 takes all that it takes"],
            id="a permission below a broader one",
        ),
        pytest.param(
            entry('{ Name = "a"\n' + "".join(PERMISSION.format(n) for n in range(129)) + "}"),
            ["133:13 129 Permissions in a source of intentions"],
            id="more permissions than a policy should hold",
        ),
        pytest.param(permission(""), ["4:55 an HTTP match says nothing"], id="an empty match"),
        pytest.param(
            permission('PathExact = "/a"\nPathPrefix = "/b"'),
            ["6:14 PathExact and PathPrefix stand in one HTTP match"],
            id="two path conditions",
        ),
        pytest.param(permission('PathExact = "a"'), ['5:13 PathExact: "a" does not begin with "/"'], id="no slash"),
        pytest.param(
            permission('PathRegex = "(a)\\\\1"'),
            ["5:13 PathRegex: reading a regular expression: the backreference \\1 is not supported, at character 6"],
            id="a backreference",
        ),
        pytest.param(
            permission('PathRegex = "' + "a" * 1025 + '"'),
            ["5:13 PathRegex: reading a regular expression: 1025 characters, the limit is 1024"],
            id="an expression that is too long",
        ),
        pytest.param(permission('PathRegex = ""'), ["5:13 PathRegex is empty"], id="an empty expression"),
        pytest.param(
            permission('Methods = ["get", "GET"]'), ["5:19 Methods: GET stands there twice"], id="a method twice"
        ),
        pytest.param(
            permission('Methods = ["GET|.*"]'), ['5:12 Methods: "GET|.*" is no method'], id="an expression for a method"
        ),
        pytest.param(
            permission('Methods = "GET"'),
            ['5:11 Methods in an HTTP match is the string "GET"'],
            id="a string for a list",
        ),
        pytest.param(
            permission('Header { Name = "x", Exact = "1", Prefix = "2" }'),
            ["5:8 the match of header x has Exact and Prefix"],
            id="two conditions on a header",
        ),
        pytest.param(
            permission('Header { Name = "x" }'), ["5:8 the match of header x has no condition"], id="no condition"
        ),
        pytest.param(
            permission('Header { Name = ":path", Present = true }'),
            ['5:17 Name: ":path" is no header name'],
            id="a pseudo header",
        ),
        pytest.param(
            permission('Header { Name = "x", Prefix = "" }'), ["5:31 Prefix of header x is empty"], id="an empty prefix"
        ),
        pytest.param(
            permission('Header { Name = "x", Regex = "a", IgnoreCase = true }'),
            ["5:48 IgnoreCase says nothing beside Regex"],
            id="case ignored in an expression",
        ),
        pytest.param(
            permission('Header { Name = "x", Present = "yes" }'),
            ['5:32 Present in a header match is the string "yes"'],
            id="a string for a boolean",
        ),
    ],
)
def test_faults(text: str, errors: list[str]) -> None:
    assert errors_of(text) == errors
