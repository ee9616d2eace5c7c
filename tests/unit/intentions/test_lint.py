"""Each remark, and that an accepted entry never shows the first three."""

from __future__ import annotations

import pytest
from hypothesis import given

from mesh.config.entries import Action, HttpMatch, Permission, ServiceDefaults, ServiceIntentions, SourceIntention
from mesh.intentions.lint import Level, Remark, fall_throughs, lint
from tests.fakes.intention_strategies import entries


def _lint(*rows: SourceIntention) -> tuple[Remark, ...]:
    return lint(
        ServiceIntentions("payment-service", rows),
        unused_rules={"intentions/payment-service#1:order-service"},
    )


ORDER, EVERYBODY = SourceIntention("order-service", Action.DENY), SourceIntention("*", Action.DENY)
ALL, ADMIN = HttpMatch(path_prefix="/"), HttpMatch(path_prefix="/admin")


def _permits(*matches_: HttpMatch) -> SourceIntention:
    return SourceIntention("order-service", permissions=tuple(Permission(Action.DENY, match) for match in matches_))


@pytest.mark.parametrize(
    ("rows", "codes"),
    [
        pytest.param((ORDER, EVERYBODY), [], id="a clean entry has no remark"),
        pytest.param((EVERYBODY, ORDER), ["L1", "L2"], id="'*' above a row"),
        pytest.param((ORDER, ORDER, EVERYBODY), ["L3"], id="a source twice"),
        pytest.param((ORDER,), ["L4"], id="no '*'"),
        pytest.param((_permits(ALL, ADMIN), EVERYBODY), ["L5"], id="a permission below a broader one"),
        pytest.param((_permits(ADMIN), EVERYBODY), ["L6"], id="permissions without one for everything"),
        pytest.param(
            (SourceIntention("order-service", Action.ALLOW), EVERYBODY), ["L9"], id="an unused row that allows"
        ),
    ],
)
def test_remarks(rows: tuple[SourceIntention, ...], codes: list[str]) -> None:
    assert [remark.code for remark in _lint(*rows)] == codes


def test_consul_mode_softens_errors() -> None:
    entry = ServiceIntentions("payment-service", (EVERYBODY, ORDER))
    remarks = lint(entry, is_strict=False)
    assert {remark.level for remark in remarks} == {Level.WARNING}


@pytest.mark.slow
@given(entries())
def test_an_accepted_entry_is_in_order(entry: ServiceIntentions) -> None:
    assert not {"L1", "L2", "L3"} & {remark.code for remark in lint(entry)}


def test_a_remark_is_shown_like_every_fault_of_a_file() -> None:
    (remark,) = _lint(ORDER)
    assert str(remark.to_error()) == (
        "<api>:1:1: L4: no row of '*': other callers of payment-service fall to the default, deny"
    )


def test_a_write_is_told_of_permissions_without_one_for_everything_and_of_no_other_note() -> None:
    (remark,) = fall_throughs(
        [ServiceDefaults("payment-service"), ServiceIntentions("payment-service", (_permits(ADMIN),))]
    )
    assert remark.reason == (
        "L6: intentions/payment-service#1:order-service: a request that no permission matches falls to the default, "
        "deny, and not to '*'"
    )
