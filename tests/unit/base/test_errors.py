"""An error shows the place, the line with a caret, and what would be right."""

from __future__ import annotations

from mesh.base.errors import ConfigError, ConfigErrors, Position, RemoteProtocolError, UpstreamError

AT = Position("payment.hcl", 3, 5)


def test_everything_is_shown() -> None:
    error = ConfigError("the port is 0", AT, source_line="    port = 0", right="1 to 65535")
    assert str(error) == "payment.hcl:3:5: the port is 0\n        port = 0\n        ^\n  right would be: 1 to 65535"


def test_the_caret_stands_under_the_column_after_tabs() -> None:
    _, line, caret = str(ConfigError("x", Position("f", 1, 3), source_line="\t\tport = 0")).split("\n")
    assert line[caret.index("^")] == "p"


def test_a_long_line_is_shown_around_the_column() -> None:
    long = "a" * 5000 + "X" + "b" * 5000
    _, line, caret = str(ConfigError("x", Position("f", 1, 5001), source_line=long)).split("\n")
    assert len(line) < 200
    assert line[caret.index("^")] == "X"


def test_without_a_place_only_the_reason_is_said() -> None:
    assert str(ConfigError("the port is 0")) == "the port is 0"


def test_several_errors_are_all_said_and_the_first_gives_the_place() -> None:
    errors = ConfigErrors((ConfigError("one", AT), ConfigError("two", Position("payment.hcl", 9))))
    assert str(errors) == "payment.hcl:3:5: one\npayment.hcl:9:1: two"
    assert errors.at == AT


def test_errors_carry_what_answers_them() -> None:
    assert RemoteProtocolError("a head of 70000 bytes", status=431).status == 431
    assert RemoteProtocolError("no host").status == 400
    assert UpstreamError("UH", "no healthy endpoint").flag == "UH"
