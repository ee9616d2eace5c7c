"""Files as people write them: every habit of Consul's users that HCL 1 takes, in whole files."""

from __future__ import annotations

import pytest

from mesh.config.entries import ServiceDefaults, ServiceIntentions, ServiceRouter
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of

CAREFUL = """\
# payment-service: who may take money
/* reviewed every
   quarter */
Kind      = "service-intentions"   // Consul's word
"Name"    = "payment-service"
Meta      = { "owner/team" = "payments", }

Sources = [
  # the shop
  {
    Name = "order-service",
    Description = <<-TEXT
      Orders charge cards.
        # this is text and no comment
      TEXT
    Permissions = [{
      Action = "allow",
      HTTP   = { PathPrefix = "/charge/", Methods = ["post", "PUT",], },
    },],
  },
  { Name = "*" Action = "deny" },
]
"""

HURRIED = (
    'kind="service-intentions",name="payment-service",sources{name="order-service",action="allow"}'
    'sources{name="*",action="deny"}'
)

WINDOWS = CAREFUL.replace("\n", "\r\n")

EXPORTED = """
{
  "Kind": "service-intentions", "Name": "payment-service", "Meta": null,
  "Sources": [
    {"Name": "order-service", "Action": "allow", "Precedence": 9, "Type": "consul", "Description": ""},
    {"Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul"}
  ]
}
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CAREFUL, id="with comments, heredoc and commas everywhere"),
        pytest.param(WINDOWS, id="with Windows' lines"),
        pytest.param("\ufeff" + CAREFUL, id="with a byte order mark"),
        pytest.param(HURRIED, id="on one line"),
        pytest.param(EXPORTED, id="as Consul exports it"),
    ],
)
def test_intentions(text: str) -> None:
    (entry,) = load_text(text, "payment").entries
    assert isinstance(entry, ServiceIntentions)
    assert [row.name for row in entry.sources] == ["order-service", "*"]


def test_a_heredoc_keeps_what_looks_like_a_comment() -> None:
    (entry,) = load_text(CAREFUL, "payment").entries
    assert isinstance(entry, ServiceIntentions)
    assert entry.sources[0].description == "Orders charge cards.\n  # this is text and no comment\n"


def test_blocks_and_assigned_objects_are_the_same() -> None:
    blocks = 'Kind = "service-defaults" Name = "a" UpstreamConfig { Defaults { Limits { MaxConnections = 1 } } }'
    (first,) = load_text(blocks, "f").entries
    (second,) = load_text(blocks.replace("{", "= {"), "f").entries
    (third,) = load_text(blocks.replace("Limits {", "Limits = [{").replace("1 }", "1 }]"), "f").entries
    assert isinstance(first, ServiceDefaults)
    assert first.upstream_defaults is not None
    for other in (second, third):
        assert isinstance(other, ServiceDefaults)
        assert other.upstream_defaults is not None
        assert other.upstream_defaults.limits == first.upstream_defaults.limits


def test_the_example_of_a_router_in_three_spellings() -> None:
    for text in (
        'Kind = "service-router" Name = "a" Routes = [{ Match { HTTP { PathExact = "/x" } } }]',
        'kind = "service-router" name = "a" routes { match { http { path_exact = "/x" } } }',
        '{"kind": "service-router", "name": "a", "routes": [{"match": {"http": {"pathexact": "/x"}}}]}',
    ):
        (router,) = load_text(text, "f").entries
        assert isinstance(router, ServiceRouter)
        assert router.routes[0].match is not None
        assert router.routes[0].match.path_exact == "/x"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CAREFUL.replace("]\n", "\n", 1), id="a bracket forgotten"),
        pytest.param(CAREFUL.replace('"allow"', '"allow', 1), id="a quote forgotten"),
        pytest.param(CAREFUL.replace("*/", "", 1), id="a comment not closed"),
        pytest.param(CAREFUL.replace("      TEXT\n", "", 1), id="a heredoc not closed"),
        pytest.param(CAREFUL.replace("Sources", "Source", 1), id="a letter forgotten"),
        pytest.param(CAREFUL.replace('"service-intentions"', '"Service-Intentions"'), id="a kind with capitals"),
        pytest.param(CAREFUL.replace("payment-service", "payment service"), id="a blank in a name"),
        pytest.param(CAREFUL.replace("payment-service", "рayment-service"), id="a Cyrillic letter in a name"),
        pytest.param(CAREFUL.replace('"order-service"', '"*"'), id="'*' twice"),
        pytest.param(CAREFUL + CAREFUL, id="the file twice in itself"),
        pytest.param(CAREFUL.replace("Name = ", "Name\u00a0= ", 1), id="a blank that is none"),
        pytest.param(CAREFUL.replace('"allow"', "“allow”"), id="typographic quotes"),
        pytest.param(CAREFUL.replace('"deny"', '"${var.action}"'), id="a variable of another tool"),
        pytest.param(CAREFUL + "\x1a", id="an end-of-file mark of old"),
        pytest.param(CAREFUL.replace("Methods", "__class__"), id="a name that means something in Python"),
    ],
)
def test_one_slip_is_refused(text: str) -> None:
    assert errors_of(text)
