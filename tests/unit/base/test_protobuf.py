"""Message classes from a table behave like generated ones."""

from __future__ import annotations

import pytest

from mesh.base.errors import LocalProtocolError
from mesh.base.protobuf import Schema, build_messages

SCHEMA: Schema = {
    "Outer": [
        ("name", 1, "string", False),
        ("inners", 2, "Inner", True),
        ("labels", 3, "map<string,string>", False),
        ("by_name", 4, "map<string, Inner>", False),
        ("numbers", 5, "uint64", True),
    ],
    "Inner": [("flag", 1, "bool", False), ("raw", 2, "bytes", False)],
    "Empty": [],
}


@pytest.mark.parametrize("package", ["", "meshyard.test"])
def test_round_trip(package: str) -> None:
    made = build_messages(package, SCHEMA)
    inner = made["Inner"](flag=True, raw=b"\x00\xff")
    outer = made["Outer"](name="n", inners=[inner], labels={"a": "b"}, by_name={"x": inner}, numbers=[1, 2**64 - 1])
    again = made["Outer"].FromString(outer.SerializeToString())
    assert again == outer
    assert again.by_name["x"].raw == b"\x00\xff"
    assert made["Outer"].DESCRIPTOR.full_name == (f"{package}." if package else "") + "Outer"


def test_two_tables_may_share_names() -> None:
    first, second = build_messages("p", {"M": []}), build_messages("p", {"M": [("x", 1, "string", False)]})
    assert second["M"](x="y").SerializeToString() == b"\n\x01y"
    assert first["M"].DESCRIPTOR.fields == []


def test_an_unknown_type_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="field x has the unknown type 'strin'"):
        build_messages("p", {"M": [("x", 1, "strin", False)]})
