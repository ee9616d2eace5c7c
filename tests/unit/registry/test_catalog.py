"""What a step of the catalog changes, and what it says about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.registry.catalog import Catalog, CatalogChange, Check, Instance, require_dialable
from mesh.registry.health import CheckStatus

ONE = Instance(
    id="payment-1/payment-service",
    service="payment-service",
    host="payment-1",
    datacenter="east",
    address="10.77.1.13",
    port=8080,
    checks=(Check("alive", "alive", "http"),),
)
TOUCHED = CatalogChange(frozenset({"payment-service"}))


def with_status(status: CheckStatus, output: str = "") -> Instance:
    return ONE.with_check("alive", status, output)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        pytest.param(None, ONE, TOUCHED, id="a new instance changes its service"),
        pytest.param(ONE, ONE, CatalogChange(), id="registering the same again changes nothing"),
        pytest.param(ONE, with_status(CheckStatus.PASSING), TOUCHED, id="coming into rotation is a change"),
        pytest.param(
            with_status(CheckStatus.PASSING),
            with_status(CheckStatus.WARNING),
            CatalogChange(),
            id="passing to warning is for people only",
        ),
        pytest.param(ONE, with_status(CheckStatus.CRITICAL, "refused"), CatalogChange(), id="output is for people"),
        pytest.param(ONE, replace(ONE, address="10.77.1.14"), TOUCHED, id="another address is a change"),
    ],
)
def test_put(before: Instance | None, after: Instance, change: CatalogChange) -> None:
    catalog = Catalog()
    if before:
        catalog.put(before)
    assert catalog.put(after) == change
    assert catalog.instances("payment-service") == (after,)


def test_removing_the_last_instance_leaves_the_name() -> None:
    catalog = Catalog()
    catalog.put(ONE)
    catalog.set_virtual_ip("payment-service", "240.0.0.1")
    assert catalog.remove(ONE.id) == TOUCHED
    assert catalog.remove(ONE.id) == CatalogChange()
    assert catalog.names() == {"payment-service": "240.0.0.1"}
    assert catalog.free_virtual_ip("payment-service").has_new_names


def test_an_address_belongs_to_one_service() -> None:
    catalog = Catalog()
    assert catalog.set_virtual_ip("a", "240.0.0.1").has_new_names
    assert not catalog.set_virtual_ip("a", "240.0.0.1").has_new_names
    with pytest.raises(LocalProtocolError, match="a has it"):
        catalog.set_virtual_ip("b", "240.0.0.1")


def test_the_index_only_grows() -> None:
    catalog = Catalog()
    catalog.advance(5)
    with pytest.raises(LocalProtocolError):
        catalog.advance(5)


def test_a_check_nobody_defined_cannot_be_reported() -> None:
    with pytest.raises(LocalProtocolError, match="no check 'x'"):
        ONE.with_check("x", CheckStatus.PASSING, "")


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "240.0.0.9"])
def test_addresses_nobody_may_be_sent_to(address: str) -> None:
    with pytest.raises(IdentityError):
        require_dialable(address)


def test_an_ordinary_address_is_dialable() -> None:
    assert require_dialable("10.77.1.13") == "10.77.1.13"
