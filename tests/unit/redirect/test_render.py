"""The text is pinned by golden files; a change of a rule shows in them and nowhere by surprise."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.redirect.model import Family, RedirectPlan
from mesh.redirect.plan import all_rules, rules_of
from mesh.redirect.render import comment_of, render, render_listing, render_markdown, render_route
from mesh.redirect.route import VirtualRoute

GOLDEN = Path(__file__).parents[2] / "golden" / "redirect"
PLANS = {
    "payment": RedirectPlan("10.77.1.13", "10.77.1.2", (8080,)),
    "vm-with-ssh": RedirectPlan(
        "10.77.1.13", "10.77.1.2", (8080, 9090), excluded_inbound_ports=(15020, 22), resolver_address="10.77.1.1"
    ),
    "managed-vm": RedirectPlan(
        "10.77.1.13", "10.77.1.2", (8080,), excluded_inbound_ports=(15020, 22), forward_to=("192.168.121.1",),
        operator_networks=("192.168.121.0/24",), management_interfaces=("eth0",),
    ),
    "container": RedirectPlan(
        "10.77.1.13", "10.77.1.2", (8080,), resolver_address="127.0.0.11", forward_to=("127.0.0.11",)
    ),
    "nothing-listens": RedirectPlan("10.77.1.13", "10.77.1.2", ()),
}  # fmt: skip


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", list(PLANS))
def test_restore_text(name: str, family: Family) -> None:
    assert render(rules_of(PLANS[name], family)) == (GOLDEN / f"{name}.{family}.rules").read_text()


def test_listing() -> None:
    assert render_listing(all_rules(PLANS["payment"])) == (GOLDEN / "payment.listing.txt").read_text()


def test_the_route_is_told_with_its_command_and_reason() -> None:
    text = render_route(VirtualRoute("eth0", "10.77.1.13"))
    assert "ip -4 route add 240.0.0.0/4 dev eth0 scope link src 10.77.1.13 proto 77" in text
    assert "[T20]" in text


def test_without_the_comment_match_no_comment_is_written() -> None:
    assert "comment" not in render(rules_of(PLANS["payment"], Family.V4), with_comments=False)


def test_comments_fit_into_the_kernel() -> None:
    for rule in (*all_rules(PLANS["vm-with-ssh"]), *all_rules(PLANS["managed-vm"]), *all_rules(PLANS["container"])):
        assert len(comment_of(rule).encode()) < 256
        assert '"' not in comment_of(rule)


def test_chains_are_declared_before_use_and_entries_come_last() -> None:
    for family in Family:
        text = render(rules_of(PLANS["payment"], family))
        for block in text.split("COMMIT\n")[:-1]:
            kinds = [line[0:2] for line in block.splitlines()[1:]]
            assert kinds == sorted(kinds, key=[":M", "-A", "-I"].index)


def test_the_reference_page_shows_these_rules() -> None:
    page = (GOLDEN.parents[2] / "docs" / "reference" / "redirect.md").read_text()
    assert page.split("<!-- rules -->\n\n")[1] == render_markdown(all_rules(PLANS["payment"]))


def test_the_reference_page_explains_every_pitfall_a_rule_names() -> None:
    page = (GOLDEN.parents[2] / "docs" / "reference" / "redirect.md").read_text()
    for rule in (rule for plan in PLANS.values() for rule in all_rules(plan)):
        assert not rule.source or f"\n| {rule.source} | " in page
