"""When the collector of cycles keeps away, and that it comes back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mesh.proxy.shell.collector import MANY, spared


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize(
    ("count", "is_collecting"),
    [pytest.param(MANY - 1, True, id="little came"), pytest.param(MANY, False, id="much came")],
)
def test_the_collector_keeps_away_while_much_is_taken(count: int, is_collecting: bool) -> None:
    frozen = gc.get_freeze_count()
    with spared(count):
        assert gc.isenabled() is is_collecting
    assert gc.isenabled()
    assert (gc.get_freeze_count() == frozen) is is_collecting


def test_it_comes_back_when_taking_fails() -> None:
    with pytest.raises(KeyError), spared(MANY):
        raise KeyError
    assert gc.isenabled()
