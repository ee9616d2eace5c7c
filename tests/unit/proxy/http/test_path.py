"""Paths: one normal form, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.path import normalise_path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        pytest.param("/", "/", id="the root"),
        pytest.param("/a/b.c/~d/", "/a/b.c/~d/", id="nothing to do"),
        pytest.param("//a///b//", "/a/b/", id="slashes are merged"),
        pytest.param("/a/./b/.", "/a/b/", id="a dot stays where it is"),
        pytest.param("/a/b/../c", "/a/c", id="two dots climb"),
        pytest.param("/a/..", "/", id="up to the root"),
        pytest.param("/a//../b", "/b", id="slashes are merged before dots climb"),
        pytest.param("/%61%2D%7e", "/a-~", id="unreserved characters are decoded"),
        pytest.param("/a/%2e%2E/b", "/b", id="encoded dots climb"),
        pytest.param("/%3a%c3%a9", "/%3A%C3%A9", id="other escapes stay, in capitals"),
        pytest.param("/%252e%252e/a", "/%252e%252e/a", id="an escape of an escape is literal"),
        pytest.param("/%25%32%65", "/%252e", id="decoding happens once"),
        pytest.param("/%c0%ae", "/%C0%AE", id="overlong UTF-8 is literal"),
        pytest.param("/ADMIN", "/ADMIN", id="case counts"),
        pytest.param("/a..;b/...", "/a..;b/...", id="dots that are not alone are names"),
        pytest.param("/a;v=1/b", "/a;v=1/b", id="parameters of a name stay"),
    ],
)
def test_normal_form(path: str, normal: str) -> None:
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    "path",
    [
        *["", "a", "/..", "/a/../..", "/%2e%2e", "/..;", "/a/..;x=y/b", "/.;/", "/%2e%2E;", "/..%3b", "/.%3B", "/a%00"],
        *["/a%2fb", "/a%5Cb", "/a\\b", "/a%0a", "/a%7f", "/%", "/%a", "/%ag", "/%+a", "/a b", "/a#b", "/a?b"],
        *["/caf\xe9", "/a\n", "/a\r\n", "/\u0130", "/%\u0661\u0661", "/a\x00"],
    ],
)
def test_no_normal_form(path: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        normalise_path(path)
    assert caught.value.status == 400


@given(st.text("/.;%2eE5cf01aA\\", max_size=24))
def test_normalising_twice_changes_nothing(tail: str) -> None:
    try:
        normal = normalise_path("/" + tail)
    except RemoteProtocolError:
        return
    assert normalise_path(normal) == normal


@pytest.mark.parametrize("code", range(256))
@pytest.mark.parametrize("shape", ["/{}x", "/a/{}", "/{}/b"])
def test_every_escape_is_decoded_kept_or_refused(code: int, shape: str) -> None:
    escape, char = f"%{code:02x}", chr(code)
    path = shape.format(escape)
    if code < 0x20 or code == 0x7F or char in "/\\":
        with pytest.raises(RemoteProtocolError):
            normalise_path(path)
    elif char == ".":
        assert normalise_path(path) in ("/.x", "/a/", "/b")
    elif code < 128 and (char.isalnum() or char in "-_~"):
        assert normalise_path(path) == shape.format(char)
    else:
        assert normalise_path(path) == shape.format(escape.upper())
