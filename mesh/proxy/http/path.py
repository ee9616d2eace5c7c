"""One normal form of a path, which policy sees and the upstream receives; what has none is refused.

The rules, in order:

1. `%` must be followed by two hex digits. `%00`, other encoded controls, an encoded slash (`%2f`) and an encoded
   backslash (`%5c`) are refused: whoever decodes them later sees another path than we did.
2. Encoded letters, digits and `-._~` are decoded, once. Other escapes stay, with upper-case digits. `%252e` is
   a literal `%252e`; whoever decodes twice is on his own.
3. Repeated slashes are merged. Many file and web frameworks do so, and a policy on `/admin` would miss `//admin`
   for those that do. The upstream receives the merged form, so both see one path.
4. `.` and `..` are resolved. Climbing above the root is refused: no honest client sends it.
5. `.` or `..` with parameters (`..;`, `..;a=b`, `..%3b`) is refused: Servlet containers cut the parameters and
   then climb, others do not.

Normalising twice must change nothing; where it would, the path is refused as well. Letter case counts: `/ADMIN` is
not `/admin`.

Source: RFC 3986 section 6.2.2; Envoy HTTP connection manager: normalize_path, merge_slashes,
path_with_escaped_slashes_action REJECT_REQUEST; CVE-2019-9901, CVE-2021-29492, CVE-2021-31920.
"""

from __future__ import annotations

import re

from mesh.base.errors import RemoteProtocolError

_ESCAPE = re.compile(r"%(.{0,2})", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{2}", re.ASCII)
# A path with nothing to decode, merge, resolve or refuse: no %, no empty segment, none that begins with a dot.
_PLAIN = re.compile(r"(?:/[A-Za-z0-9\-_~!$&'()*+,;=:@][A-Za-z0-9\-._~!$&'()*+,;=:@]*+)*+/?", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*+", re.ASCII)
_SLASHES = re.compile(r"//++")
_DOTS_WITH_PARAMETERS = re.compile(r"/\.\.?(?:;|%3[Bb])")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_FORBIDDEN_ESCAPES = frozenset([*range(0x20), 0x7F, ord("/"), ord("\\")])


def normalise_path(path: str) -> str:
    """Return the normal form of the path of a request target, without its query.

    Raises:
        RemoteProtocolError: 400: the path has a character or an escape it may not have, climbs above the root,
            or has no stable normal form.
    """
    if path and _PLAIN.fullmatch(path) is not None:
        return path
    if _PATH.fullmatch(path) is None:
        raise RemoteProtocolError("reading a path: it does not begin with / or holds a character a path may not hold")
    normal = _normalise_once(path)
    if _normalise_once(normal) != normal:
        raise RemoteProtocolError("reading a path: normalising it twice gives another path than once")
    return normal


def _normalise_once(path: str) -> str:
    decoded = _SLASHES.sub("/", _ESCAPE.sub(_decode, path))
    if _DOTS_WITH_PARAMETERS.search(decoded) is not None:
        raise RemoteProtocolError("reading a path: a dot segment with parameters (..;), servers disagree about it")
    return _resolve_dots(decoded) if "/." in decoded else decoded


def _decode(escape: re.Match[str]) -> str:
    digits = escape.group(1)
    if _HEX.fullmatch(digits) is None:
        raise RemoteProtocolError("reading a path: % is not followed by two hex digits")
    code = int(digits, 16)
    if code in _FORBIDDEN_ESCAPES:
        raise RemoteProtocolError(f"reading a path: %{digits} hides a control character, a slash or a backslash")
    return chr(code) if chr(code) in _UNRESERVED else f"%{digits.upper()}"


def _resolve_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if not kept:
                raise RemoteProtocolError("reading a path: .. climbs above the root")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", "..") and kept:
        kept.append("")
    return "/" + "/".join(kept)
