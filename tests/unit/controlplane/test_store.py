"""What was written is there again; what is not ours, not whole or not free is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.controlplane.store import Record, Store, StoreError

ROWS = [Record("config", "a", '{"x": 1}'), Record("config", "b", "{}"), Record("instance", "a", "[]")]


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    assert store.load() == (0, [])
    store.write(1, ROWS)
    store.write(2, [Record("config", "a", None), Record("config", "b", '"new"')])
    store.close()
    again = Store(tmp_path / "state.db")
    index, records = again.load()
    assert index == 2
    assert set(records) == {Record("config", "b", '"new"'), ROWS[2]}
    again.close()


@pytest.mark.slow
def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    with pytest.raises(StoreError, match="locked"):
        Store(tmp_path / "state.db")
    store.close()


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cats (name)")
    connection.close()


def _newer(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: path.write_bytes(b"hello, this is not sqlite" * 99), "not a database", id="a text"),
        pytest.param(_foreign, "not of a control plane", id="another program's database"),
        pytest.param(_newer, "version 99", id="a schema from the future"),
    ],
)
def test_what_is_not_ours_is_refused(tmp_path: Path, make: object, words: str) -> None:
    path = tmp_path / "state.db"
    make(path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=words):
        Store(path)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        pytest.param("UPDATE records SET value = '{}' WHERE key = 'a' AND tab = 'config'", "config/a", id="changed"),
        pytest.param("DELETE FROM records WHERE key = 'b'", "missing", id="lost"),
        pytest.param("UPDATE records SET key = 'c' WHERE key = 'b'", "config/c", id="renamed"),
    ],
)
def test_a_hole_in_the_set_is_refused(tmp_path: Path, statement: str, words: str) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    store.write(1, ROWS)
    store.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    damaged = Store(path)
    with pytest.raises(StoreError, match=words):
        damaged.load()
    damaged.close()


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.write(1, ROWS)
    with pytest.raises(StoreError):
        store.write(2, [Record("config", "a", None), Record("config", "x", "\ud800")])
    store.write(3, [Record("config", "z", "1")])
    store.close()
    again = Store(tmp_path / "state.db")
    assert set(again.load()[1]) == {*ROWS, Record("config", "z", "1")}
    again.close()


_KEYS = st.sampled_from("abc")


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.tuples(_KEYS, st.none() | st.text(max_size=5)), max_size=4), max_size=6))
def test_the_store_is_a_dictionary_that_survives(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, str | None]]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "state.db"
    expected: dict[str, str] = {}
    store = Store(path)
    for number, batch in enumerate(batches, start=1):
        store.write(number, [Record("t", key, value) for key, value in batch])
        for key, value in batch:
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
    store.close()
    again = Store(path)
    index, records = again.load()
    again.close()
    assert index == len(batches)
    assert {record.key: record.value for record in records} == expected
