"""Requests as raw bytes, and what a strict front door does with each. Data only: it imports nothing of the mesh.

A row: a name that is unique, the class of the attack (or of the legal form), the bytes as a client would write them
to a fresh connection before it half-closes, the status that must answer the offending message (None: nothing is
refused), and how many complete messages may reach a backend. Unless said, a refused row lets none through, and a row
that is not refused lets exactly one through.
"""

from __future__ import annotations

from typing import NamedTuple


class Vector(NamedTuple):
    """One row of the table."""

    name: str
    attack: str
    raw: bytes
    status: int | None
    messages: int


def get(*fields: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: a\r\n") -> bytes:
    """Return a head: request line, a Host, and the fields as given (each without its CRLF)."""
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def post(*fields: bytes, body: bytes = b"", line: bytes = b"POST /x HTTP/1.1") -> bytes:
    """Return a POST with the fields as given and the body as given."""
    return get(*fields, line=line) + body


def chunked(body: bytes) -> bytes:
    """Return a chunked POST whose coded body is `body`."""
    return post(b"Transfer-Encoding: chunked", body=body)


def to(target: bytes, method: bytes = b"GET") -> bytes:
    """Return a request for a target."""
    return get(line=method + b" " + target + b" HTTP/1.1")


def hosted(host: bytes) -> bytes:
    """Return a request with this text as the value of Host."""
    return get(host=b"Host: " + host + b"\r\n")


_ROWS: list[Vector] = []


def _refused(attack: str, status: int, rows: dict[str, bytes], *, messages: int = 0) -> None:
    _ROWS.extend(Vector(name, attack, raw, status, messages) for name, raw in rows.items())


def _accepted(attack: str, rows: dict[str, bytes], *, messages: int = 1) -> None:
    _ROWS.extend(Vector(name, attack, raw, None, messages) for name, raw in rows.items())


SECOND = get(line=b"GET /smuggled HTTP/1.1")
CL5, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

# ------------------------------------------------------------------------------------- which framing field counts

_refused(
    "CL.TE and TE.CL",
    400,
    {
        "Content-Length before Transfer-Encoding": post(CL5, TE, body=END),
        "Transfer-Encoding before Content-Length": post(TE, CL5, body=END),
        "both, with a second request behind the last chunk": post(b"Content-Length: 6", TE, body=END + b"G" + SECOND),
        "both, the length covering a whole second request": post(b"Content-Length: 60", TE, body=END + SECOND),
        "both, Content-Length zero": post(b"Content-Length: 0", TE, body=END),
        "both, Transfer-Encoding identity": post(CL5, b"Transfer-Encoding: identity", body=b"12345"),
        "both, Transfer-Encoding empty": post(CL5, b"Transfer-Encoding:", body=b"12345"),
        "both, with unusual case": post(b"cOnTeNt-LeNgTh: 5", b"tRANSFER-eNCODING: chunked", body=END),
        "both, other fields between them": post(TE, b"A: b", b"C: d", CL5, body=END),
    },
)
_refused(
    "TE.TE",
    400,
    {
        "two Transfer-Encoding fields that agree": post(TE, TE, body=END),
        "two Transfer-Encoding fields, the second identity": post(TE, b"Transfer-Encoding: identity", body=END),
        "two Transfer-Encoding fields, the first identity": post(b"Transfer-Encoding: identity", TE, body=END),
        "two Transfer-Encoding fields, one in lower case": post(TE, b"transfer-encoding: cow", body=END),
        "a vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=END),
        "a vertical tab after chunked": post(b"Transfer-Encoding: chunked\x0b", body=END),
        "a form feed before chunked": post(b"Transfer-Encoding:\x0cchunked", body=END),
        "a NUL after chunked": post(b"Transfer-Encoding: chunked\x00", body=END),
        "Transfer-Encoding folded onto a second line": post(b"Transfer-Encoding:\r\n chunked", body=END),
        "a folded second coding": post(b"Transfer-Encoding: chunked\r\n , identity", body=END),
        "a space before the colon of Transfer-Encoding": post(b"Transfer-Encoding : chunked", body=END),
        "Transfer-Encoding hidden behind a bare CR": post(b"Foo: bar\rTransfer-Encoding: chunked", body=END),
        "Transfer-Encoding hidden behind a bare LF": post(b"Foo: bar\nTransfer-Encoding: chunked", body=END),
        "Transfer-Encoding with an underscore": post(b"Transfer_Encoding: chunked", body=END),
        "Transfer-Encoding with an underscore beside a length": post(CL5, b"transfer_encoding: chunked", body=b"12345"),
    },
)
_refused(
    "a coding other than chunked",
    501,
    {
        "xchunked": post(b"Transfer-Encoding: xchunked", body=END),
        "chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=END),
        "identity, chunked": post(b"Transfer-Encoding: identity, chunked", body=END),
        "an empty member before chunked": post(b"Transfer-Encoding: ,chunked", body=END),
        "an empty member after chunked": post(b"Transfer-Encoding: chunked,", body=END),
        "chunked, chunked": post(b"Transfer-Encoding: chunked, chunked", body=END),
        "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=END),
        "gzip alone": post(b"Transfer-Encoding: gzip", body=END),
        "identity alone": post(b"Transfer-Encoding: identity"),
        "an empty Transfer-Encoding": post(b"Transfer-Encoding: "),
        "a no-break space before chunked": post(b"Transfer-Encoding: \xa0chunked", body=END),
        "a no-break space after chunked": post(b"Transfer-Encoding: chunked\xa0", body=END),
        "quotes around chunked": post(b'Transfer-Encoding: "chunked"', body=END),
        "single quotes around chunked": post(b"Transfer-Encoding: 'chunked'", body=END),
        "a parameter after chunked": post(b"Transfer-Encoding: chunked;q=1", body=END),
        "a long s in chunked, as some lower-case it": post(b"Transfer-Encoding: chun\xe2\x84\xaaed", body=END),
    },
)
_refused(
    "Content-Length given twice",
    400,
    {
        "two that agree": post(CL5, CL5, body=b"12345"),
        "two that differ": post(CL5, b"Content-Length: 6", body=b"123456"),
        "two, one in lower case": post(CL5, b"content-length: 0", body=b"12345"),
        "a list that agrees": post(b"Content-Length: 5, 5", body=b"12345"),
        "a list that differs": post(b"Content-Length: 5, 6", body=b"12345"),
        "a list with an empty member": post(b"Content-Length: 5,", body=b"12345"),
        "one with an underscore beside it": post(CL5, b"Content_Length: 0", body=b"12345"),
        "one with an underscore alone": post(b"content_length: 5", body=b"12345"),
    },
)
_refused(
    "Content-Length that is not a number",
    400,
    {
        f"Content-Length {shown}": post(b"Content-Length: " + value, body=b"12345")
        for shown, value in {
            "with a plus": b"+5",
            "with a minus": b"-5",
            "minus zero": b"-0",
            "hexadecimal": b"0x5",
            "with an underscore in it": b"5_0",
            "with a parameter": b"5;q",
            "with a letter behind": b"5Z",
            "empty": b"",
            "of white space": b"  \t ",
            "with a space inside": b"1 0",
            "a superscript five": b"\xb5",
            "an Arabic-Indic five": b"\xd9\xa5",
            "a full-width five": b"\xef\xbc\x95",
            "2^64 + 5": b"18446744073709551621",
            "of 25 digits": b"0000000000000000000000005",
            "of 19 digits": b"1000000000000000005",
            "with a fraction": b"5.0",
            "with an exponent": b"5e0",
            "in quotes": b'"5"',
            "with a NUL": b"5\x00",
            "with a vertical tab before": b"\x0b5",
            "with a no-break space before": b"\xa05",
            "a word": b"five",
        }.items()
    },
)

# ------------------------------------------------------------------------------------- how fields are written

_refused(
    "white space in a field line",
    400,
    {
        "a space before a colon": get(b"Name : v"),
        "a tab before a colon": get(b"Name\t: v"),
        "a space before the colon of Host": get(host=b"Host : a\r\n"),
        "a space before the colon of Content-Length": post(b"Content-Length : 5", body=b"12345"),
        "a space before the first field": get(host=b" Host: a\r\n"),
        "a tab before the first field": get(host=b"\tHost: a\r\n"),
        "a line of one space before the first field": get(host=b" \r\nHost: a\r\n"),
        "a field folded with a space": get(b"Foo: a\r\n b"),
        "a field folded with a tab": get(b"Foo: a\r\n\tb"),
        "Host folded": get(host=b"Host:\r\n a\r\n"),
        "Content-Length folded": post(b"Content-Length:\r\n 5", body=b"12345"),
        "Authorization folded": get(b"Authorization: Bearer\r\n x"),
        "a line of white space between fields": get(b"Foo: a", b" ", b"Bar: b"),
        "a fold as the last field": get(b"Foo: a", b"\t"),
    },
)
_refused(
    "control characters in fields",
    400,
    {
        f"{what} in {where}": get(line % char)
        for what, char in {
            "a bare CR": b"\r",
            "a bare LF": b"\n",
            "NUL": b"\x00",
            "a bell": b"\x07",
            "a backspace": b"\x08",
            "a vertical tab": b"\x0b",
            "ESC": b"\x1b",
            "a unit separator": b"\x1f",
            "DEL": b"\x7f",
        }.items()
        for where, line in {"a value": b"Foo: a%bb", "a name": b"Fo%bo: a", "the end of a value": b"Foo: a%b"}.items()
    },
)
_refused(
    "names that are not tokens",
    400,
    {
        "an empty name": get(b": v"),
        "no colon": get(b"Foo"),
        "a space inside a name": get(b"Fo o: v"),
        "obs-text in a name": get(b"Fo\xe9: v"),
        "0x85 at the end of a name": get(b"Foo\x85: v"),
        "a no-break space before a name": get(b"\xa0Host: b"),
        **{f"{chr(char)} in a name": get(b"F%co: v" % char) for char in b'()<>@,;\\"/[]?={}'},
    },
)
_refused(
    "line ends",
    400,
    {
        "LF only, everywhere": b"GET /x HTTP/1.1\nHost: a\n\n",
        "LF after the request line": b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
        "LF after a field": b"GET /x HTTP/1.1\r\nHost: a\nFoo: b\r\n\r\n",
        "LF as the empty line": b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
        "CR only, everywhere": b"GET /x HTTP/1.1\rHost: a\r\r" + SECOND,
        "CR CR LF after a field": b"GET /x HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "CR before the empty line": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
        "LF LF in a value, then a second request": get(b"Foo: a\n\n" + SECOND),
        "CR LF LF": b"GET /x HTTP/1.1\r\nHost: a\r\n\nFoo: b\r\n\r\n",
        "a NUL before the request line": b"\x00" + get(),
        "an empty line before the request line": b"\r\n" + get(),
        "LF before the request line": b"\n" + get(),
        "a byte order mark before the request line": b"\xef\xbb\xbf" + get(),
    },
)
_refused(
    "too much",
    431,
    {
        "101 fields": get(*[b"F%d: v" % n for n in range(100)]),
        "300 fields": get(*[b"F%d: v" % n for n in range(300)]),
        "a field of 80 kB": get(b"Foo: " + b"v" * 80_000),
        "a name of 80 kB": get(b"f" * 80_000 + b": v"),
        "a head of 61 kB in 61 fields": get(*[b"F%d: %b" % (n, b"v" * 1016) for n in range(61)]),
        "a field of 80 kB that never ends": get(b"Foo: " + b"v" * 80_000)[:-4],
    },
)
_refused(
    "too long a target",
    414,
    {
        "a target of 70 kB": to(b"/" + b"x" * 70_000),
        "a target of 9 kB": to(b"/" + b"x" * 9_000),
        "a query of 9 kB": to(b"/?" + b"x" * 9_000),
        "a target of 70 kB that never ends": b"GET /" + b"x" * 70_000,
    },
)

# ------------------------------------------------------------------------------------- the request line

_refused(
    "version",
    400,
    {
        "HTTP/0.9": b"GET /x\r\n\r\n",
        "HTTP/0.9 with a Host": b"GET /x\r\nHost: a\r\n\r\n",
        "HTTP/1.10": get(line=b"GET /x HTTP/1.10"),
        "HTTP/01.1": get(line=b"GET /x HTTP/01.1"),
        "http/1.1 in lower case": get(line=b"GET /x http/1.1"),
        "HTTP/1": get(line=b"GET /x HTTP/1"),
        "HTTP/1.": get(line=b"GET /x HTTP/1."),
        "HTTP/1,1": get(line=b"GET /x HTTP/1,1"),
        "HTTP 1.1": get(line=b"GET /x HTTP 1.1"),
        "HTTPS/1.1": get(line=b"GET /x HTTPS/1.1"),
        "a superscript in the version": get(line=b"GET /x HTTP/1.\xb9"),
        "a space behind the version": get(line=b"GET /x HTTP/1.1 "),
        "a tab behind the version": get(line=b"GET /x HTTP/1.1\t"),
        "Transfer-Encoding in HTTP/1.0": post(TE, body=END, line=b"POST /x HTTP/1.0"),
    },
)
_refused(
    "version not spoken",
    505,
    {
        "HTTP/2.0": get(line=b"GET /x HTTP/2.0"),
        "HTTP/1.2": get(line=b"GET /x HTTP/1.2"),
        "HTTP/0.9 written out": get(line=b"GET /x HTTP/0.9"),
        "HTTP/3.0": get(line=b"GET /x HTTP/3.0"),
        "HTTP/1.9": get(line=b"GET /x HTTP/1.9"),
        "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    },
)
_refused(
    "request line",
    400,
    {
        "two spaces before the target": get(line=b"GET  /x HTTP/1.1"),
        "two spaces before the version": get(line=b"GET /x  HTTP/1.1"),
        "a tab before the target": get(line=b"GET\t/x HTTP/1.1"),
        "a tab before the version": get(line=b"GET /x\tHTTP/1.1"),
        "a leading space": get(line=b" GET /x HTTP/1.1"),
        "a space in the target": get(line=b"GET /x y HTTP/1.1"),
        "no target": get(line=b"GET HTTP/1.1"),
        "only a method": get(line=b"GET"),
        "a no-break space in the target": to(b"/x\xa0y"),
        "obs-text in the target": to(b"/caf\xe9"),
        "UTF-8 in the target": to(b"/caf\xc3\xa9"),
        "a bare CR in the target": to(b"/x\ry"),
        "a NUL in the target": to(b"/x\x00y"),
        "DEL in the target": to(b"/x\x7fy"),
        "a bare LF in the target": to(b"/x\ny"),
        "a method that is not a token": get(line=b"G(T /x HTTP/1.1"),
        "an empty method": get(line=b" /x HTTP/1.1"),
        "obs-text in the method": get(line=b"G\xc9T /x HTTP/1.1"),
    },
)
_refused(
    "methods not known",
    501,
    {
        "a method in lower case": to(b"/x", b"get"),
        "a method of mixed case": to(b"/x", b"Get"),
        "an invented method": to(b"/x", b"EXPLODE"),
        "a method glued to a known one": to(b"/x", b"GETGET"),
    },
)
_refused(
    "target forms",
    400,
    {
        "no leading slash": to(b"x"),
        "a query without a path": to(b"?x"),
        "the authority form with GET": to(b"a:80"),
        "* with GET": to(b"*"),
        "* with a query": to(b"*?x", b"OPTIONS"),
        "* behind a path": to(b"x*", b"OPTIONS"),
        "* behind an authority": to(b"http://a*", b"OPTIONS"),
        "the scheme https": to(b"https://a/x"),
        "the scheme file": to(b"file:///etc/passwd"),
        "the scheme javascript": to(b"javascript:alert(1)"),
        "an absolute form without an authority": to(b"http:///x"),
        "an absolute form with one slash": to(b"http:/a/x"),
        "an absolute form with userinfo": to(b"http://u:p@a/x"),
        "an absolute form with a backslash": to(b"http://a\\@b/x"),
        "an absolute form with a fragment": to(b"http://a/x#y"),
        "an absolute form and no Host": get(line=b"GET http://a/x HTTP/1.1", host=b""),
        "TRACE with a body": post(CL5, body=b"12345", line=b"TRACE /x HTTP/1.1"),
    },
)
_refused(
    "tunnels",
    403,
    {
        "CONNECT to a host": get(line=b"CONNECT b:443 HTTP/1.1"),
        "CONNECT to loopback": get(line=b"CONNECT 127.0.0.1:15000 HTTP/1.1"),
        "CONNECT with an origin form": get(line=b"CONNECT /x HTTP/1.1"),
        "CONNECT and a second request": get(line=b"CONNECT b:443 HTTP/1.1") + SECOND,
    },
)
_refused(
    "expectations",
    417,
    {
        "an unknown expectation": post(CL5, b"Expect: 200-ok", body=b"12345"),
        "two expectations": post(CL5, b"Expect: 100-continue", b"Expect: 100-continue", body=b"12345"),
        "an expectation with a parameter": post(CL5, b"Expect: 100-continue;x=y", body=b"12345"),
    },
)

# ------------------------------------------------------------------------------------- Host and path

_refused(
    "Host",
    400,
    {
        "no Host": get(host=b""),
        "no Host in HTTP/1.0": get(line=b"GET /x HTTP/1.0", host=b""),
        "two Hosts that differ": get(b"Host: b"),
        "two Hosts that agree": get(b"Host: a"),
        "two Hosts, one in capitals": get(b"HOST: b"),
        "Connection nominates Host": get(b"Connection: host"),
        "Connection nominates Content-Length": post(CL5, b"Connection: close, Content-Length", body=b"12345"),
        "Connection nominates Transfer-Encoding": post(TE, b"Connection: transfer-encoding", body=END),
        **{
            f"Host {shown}": hosted(value)
            for shown, value in {
                "empty": b"",
                "with userinfo": b"u@a",
                "a list": b"a, b",
                "a list without a space": b"a,b",
                "with a space": b"a b",
                "with a slash": b"a/b",
                "with a NUL": b"a\x00b",
                "with a percent sign": b"a%2eb",
                "with a query": b"a?b",
                "with a fragment": b"a#b",
                "with a backslash": b"a\\b",
                "with a port over 65535": b"a:65536",
                "with a port of six digits": b"a:000080",
                "with port 0": b"a:0",
                "with an empty port": b"a:",
                "with a port that is a word": b"a:http",
                "with a negative port": b"a:-1",
                "with a signed port": b"a:+80",
                "with two ports": b"a:80:80",
                "only a port": b":80",
                "with a leading dot": b".a",
                "with two dots": b"a..b",
                "only a dot": b".",
                "with two trailing dots": b"a..",
                "with obs-text": b"caf\xe9",
                "with a scheme": b"http://a",
                "an IPv6 address without brackets": b"::1",
                "half a bracket": b"[::1",
                "brackets around nothing": b"[]",
                "brackets around a name": b"[a]",
                "brackets around IPv4": b"[127.0.0.1]",
                "an IPv6 address with a zone": b"[fe80::1%25eth0]",
                "text behind brackets": b"[::1]x",
                "a quote": b'"a"',
                "a wildcard": b"*",
                "of 300 characters": b"a" * 300,
            }.items()
        },
    },
)
_refused(
    "path",
    400,
    {
        f"the path {shown.decode('ascii')}": to(shown)
        for shown in [
            b"/admin#x",
            b"/#",
            b"/admin?a#b",
            b"/admin%00",
            b"/%00",
            b"/a%0d%0aHost:b",
            b"/a%09b",
            b"/a%7f",
            b"/a%2fb",
            b"/a%2F..%2Fb",
            b"/a%5cb",
            b"/a%5C..%5Cb",
            b"/a\\b",
            b"/..\\admin",
            b"/%",
            b"/%2",
            b"/%zz",
            b"/%%32e",
            b"/%u002e",
            b"/%+1",
            b"/..",
            b"/../admin",
            b"/a/../../b",
            b"/%2e%2e/admin",
            b"/a/b/../../../c",
            b"/public/..;/admin",
            b"/public/.;/admin",
            b"/public/%2e%2e;/admin",
            b"/public/..;a=b/admin",
            b"/public/%2e;/x",
            b"/public/..%3b/admin",
            b"/public/..%3Ba=b",
            b"/public/.%2e;x",
            b"/public/..;",
            b'/a"b',
            b"/a<b>",
            b"/a^b",
            b"/a`b",
            b"/a{b}",
            b"/a|b",
            b"/a[b]",
        ]
    },
)

# ------------------------------------------------------------------------------------- chunked bodies

_refused(
    "chunk size",
    400,
    {
        f"chunk size {shown}": chunked(line + b"\r\n12345\r\n0\r\n\r\n")
        for shown, line in {
            "hexadecimal with 0x": b"0x5",
            "with a plus": b"+5",
            "with a minus": b"-5",
            "minus zero": b"-0",
            "with an underscore": b"0_5",
            "with a leading space": b" 5",
            "with a trailing space": b"5 ",
            "with a trailing tab": b"5\t",
            "empty": b"",
            "of 17 digits": b"00000000000000005",
            "a letter that is no digit": b"5g",
            "a superscript": b"\xb5",
            "a full-width five": b"\xef\xbc\x95",
            "in quotes": b'"5"',
            "with a comma": b"5,5",
            "a NUL behind": b"5\x00",
        }.items()
    },
)
_refused(
    "chunk extensions",
    400,
    {
        "a bare CR in an extension": chunked(b"5;a\rb\r\n12345\r\n" + END),
        "a bare LF in an extension": chunked(b"5;a\nb\r\n12345\r\n" + END),
        "a bare LF that ends an extension": chunked(b"5;a\n12345\r\n" + END),
        "a bare LF behind the semicolon": chunked(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SECOND + b"\r\n" + END),
        "no semicolon": chunked(b"5 a=b\r\n12345\r\n" + END),
        "a space before the semicolon": chunked(b"5 ;a=b\r\n12345\r\n" + END),
        "a NUL in an extension": chunked(b"5;a=\x00\r\n12345\r\n" + END),
        "one of 20 kB": chunked(b"5;" + b"a" * 20_000 + b"\r\n12345\r\n" + END),
        "20 kB over many chunks": chunked((b"1;" + b"a" * 500 + b"\r\nx\r\n") * 40 + END),
        "one on the last chunk with a bare LF": chunked(b"0;a\n\r\n"),
    },
)
_refused(
    "chunk ends",
    400,
    {
        "two arbitrary bytes behind the data": chunked(b"5\r\n12345XX" + END),
        "LF only behind the data": chunked(b"5\r\n12345\n" + END),
        "CR only behind the data": chunked(b"5\r\n12345\r" + END),
        "nothing behind the data": chunked(b"5\r\n12345" + END),
        "LF CR behind the data": chunked(b"5\r\n12345\n\r" + END),
        "one byte too much": chunked(b"5\r\n123456\r\n" + END),
        "LF only behind the size": chunked(b"5\n12345\r\n" + END),
        "CR only behind the size": chunked(b"5\r12345\r\n" + END),
        "LF only behind the last chunk": chunked(b"5\r\n12345\r\n0\n\r\n"),
        "LF only as the end": chunked(b"5\r\n12345\r\n0\r\n\n"),
        "no last chunk": chunked(b"5\r\n12345\r\n"),
        "no end behind the last chunk": chunked(b"5\r\n12345\r\n0\r\n"),
        "half an end behind the last chunk": chunked(b"5\r\n12345\r\n0\r\n\r"),
        "closed inside the data": chunked(b"5\r\n123"),
        "closed inside the size": chunked(b"5"),
        "a chunk of 2^60 bytes": chunked(b"1000000000000000\r\n12345\r\n" + END),
        "an empty line instead of a size": chunked(b"\r\n" + END),
    },
)
_refused(
    "trailers",
    400,
    {
        "a trailer without a colon": chunked(b"0\r\nFoo\r\n\r\n"),
        "a trailer with a space before the colon": chunked(b"0\r\nFoo : b\r\n\r\n"),
        "a folded trailer": chunked(b"0\r\nFoo: a\r\n b\r\n\r\n"),
        "a trailer with a bare LF": chunked(b"0\r\nFoo: a\nBar: b\r\n\r\n"),
        "a trailer with a NUL": chunked(b"0\r\nFoo: \x00\r\n\r\n"),
        "a trailer without a name": chunked(b"0\r\n: b\r\n\r\n"),
        "trailers of 20 kB": chunked(b"0\r\n" + b"Foo: %b\r\n" % (b"v" * 100) * 200 + b"\r\n"),
        "Content-Length as a trailer": chunked(b"0\r\nContent-Length: 5\r\n\r\n"),
        "Transfer-Encoding as a trailer": chunked(b"0\r\ntransfer-encoding: chunked\r\n\r\n"),
        "Host as a trailer": chunked(b"0\r\nHOST: b\r\n\r\n"),
        "Content-Length with an underscore as a trailer": chunked(b"0\r\ncontent_length: 5\r\n\r\n"),
        "a request line as a trailer": chunked(b"0\r\n" + SECOND),
    },
)
_refused(
    "body shorter than said",
    400,
    {
        "a body one byte short": post(b"Content-Length: 6", body=b"12345"),
        "no body at all": post(CL5),
        "a length of 18 digits": post(b"Content-Length: 999999999999999999", body=b"12345"),
    },
)

# ------------------------------------------------------------------------------------- pipelining

_refused("pipelining after an error", 400, {
    "bad, then good": get(b"Foo : b") + SECOND,
    "bad framing, then good": post(CL5, TE, body=b"") + SECOND,
    "bad chunk, then good": chunked(b"5\r\n12345XX") + SECOND,
    "bad host, then good": hosted(b"a b") + SECOND,
})  # fmt: skip
_refused("pipelining after an error", 400, {
    "good, then bad": get() + get(b"Foo : b") + SECOND,
    "a body, then bytes that are no request": post(CL5, body=b"12345") + b"XXXXX\r\n\r\n",
    "a GET, then LF": get() + b"\n" + SECOND,
    "a POST, then CRLF, then good": post(CL5, body=b"12345") + b"\r\n" + SECOND,
    "bytes after a refused upgrade": get(b"Connection: upgrade", b"Upgrade: websocket") + b"\x81\x05hello\r\n\r\n",
}, messages=1)  # fmt: skip

# ------------------------------------------------------------------------------------- what is legal passes

_accepted(
    "legal",
    {
        "a plain GET": get(),
        "HTTP/1.0": get(line=b"GET /x HTTP/1.0"),
        "HTTP/1.0 kept alive": get(b"Connection: keep-alive", line=b"GET /x HTTP/1.0"),
        "a POST with a length": post(CL5, body=b"12345"),
        "a POST without a body": post(),
        "a POST with length zero": post(b"Content-Length: 0"),
        "a length with leading zeros": post(b"Content-Length: 0005", body=b"12345"),
        "a length with white space around": post(b"Content-Length: \t 5 \t", body=b"12345"),
        "a length without a space": post(b"Content-Length:5", body=b"12345"),
        "a GET with a body": post(CL5, body=b"12345", line=b"GET /x HTTP/1.1"),
        "a HEAD with a body": post(CL5, body=b"12345", line=b"HEAD /x HTTP/1.1"),
        "a DELETE with a body": post(CL5, body=b"12345", line=b"DELETE /x HTTP/1.1"),
        "a GET with a chunked body": post(TE, body=b"5\r\n12345\r\n" + END, line=b"GET /x HTTP/1.1"),
        "a body that looks like a request": post(b"Content-Length: %d" % len(SECOND), body=SECOND),
        "chunked in mixed case": post(b"Transfer-Encoding: ChunKed", body=b"5\r\n12345\r\n" + END),
        "a chunked body of two chunks": chunked(b"5\r\n12345\r\n3\r\n678\r\n" + END),
        "a chunk size in capitals": chunked(b"A\r\n1234567890\r\n" + END),
        "a chunk size with leading zeros": chunked(b"000000000000000a\r\n1234567890\r\n" + END),
        "a last chunk of many zeros": chunked(b"5\r\n12345\r\n0000\r\n\r\n"),
        "a chunk extension": chunked(b"5;a=b\r\n12345\r\n" + END),
        "a chunk extension in quotes": chunked(b'5;a="b c";d\r\n12345\r\n0;e\r\n\r\n'),
        "an empty chunked body": chunked(END),
        "chunk data that is CRLF": chunked(b"4\r\n\r\n\r\n\r\n" + END),
        "a trailer": chunked(b"5\r\n12345\r\n0\r\nFoo: bar\r\n\r\n"),
        "identity fields as trailers": chunked(b"0\r\nAuthorization: x\r\nX-Forwarded-Client-Cert: y\r\n\r\n"),
        "obs-text in a value": get(b"Foo: caf\xe9"),
        "a tab in a value": get(b"Foo: a\tb"),
        "an empty value": get(b"Foo:"),
        "a value of white space": get(b"Foo: \t "),
        "white space around a value": get(b"Foo:\t a \t"),
        "a colon in a value": get(b"Foo: a:b:c"),
        "every token character in a name": get(b"!#$%&'*+-.^_`|~0aZ: v"),
        "one field three times": get(b"Foo: a", b"foo: b", b"FOO: c"),
        "100 fields": get(*[b"F%d: v" % n for n in range(99)]),
        "a field of 50 kB": get(b"Foo: " + b"v" * 50_000),
        "a target of 8 kB": to(b"/" + b"x" * 8_191),
        "an underscore in a name": get(b"user_id: 7"),
        "fields named in Connection": get(b"Connection: close, Foo", b"Foo: 1"),
        "Connection in two lines": get(b"Connection: Foo", b"Connection: close"),
        "empty members in Connection": get(b"Connection: , close,,"),
        "100-continue": post(CL5, b"Expect: 100-continue", body=b"12345"),
        "100-continue in mixed case": post(CL5, b"Expect: 100-Continue", body=b"12345"),
        "any expectation in HTTP/1.0": post(CL5, b"Expect: x", body=b"12345", line=b"POST /x HTTP/1.0"),
        "an upgrade to websocket": get(b"Connection: Upgrade", b"Upgrade: websocket"),
        "an upgrade to h2c": get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        "TE: trailers": get(b"Connection: TE", b"TE: trailers"),
        "OPTIONS *": to(b"*", b"OPTIONS"),
        "OPTIONS of an authority": to(b"http://a", b"OPTIONS"),
        "an absolute form": to(b"http://b:8080/x?y"),
        "an absolute form in capitals": to(b"HTTP://B/x"),
        "an absolute form without a path": to(b"http://b"),
        "an absolute form with only a query": to(b"http://b?x"),
        "TRACE without a body": to(b"/x", b"TRACE"),
        "PROPFIND": to(b"/x", b"PROPFIND"),
    },
)  # fmt: skip
_accepted("legal host", {f"Host {value.decode('ascii')}": hosted(value) for value in [
    b"a", b"A.B", b"a.", b"a:80", b"a:8080", b"a:65535", b"a_b", b"a-b.c", b"127.0.0.1", b"127.0.0.1:80", b"[::1]",
    b"[::1]:8080", b"[2001:DB8:0:0::1]", b"[::ffff:127.0.0.1]", b"xn--caf-dma", b"a" * 63 + b".b",
]})  # fmt: skip
_accepted("legal path", {f"the path {value.decode('ascii')}": to(value) for value in [
    b"/", b"/a/b/", b"/a?b=c&d", b"/a?", b"/a?b?c", b"/a?/../x", b"/a?%zz", b"/a?%00", b"/a?b=[1]|{2}", b"/a;b=c/d",
    b"/a//b", b"//a", b"///", b"/a/./b", b"/a/../b", b"/a/..", b"/a/b/..", b"/.", b"/a/.", b"/%61", b"/%2e",
    b"/a/%2E%2e/b",
    b"/%252e%252e/a", b"/%c0%ae%c0%ae/a", b"/%c3%a9", b"/...", b"/.hidden", b"/a..b", b"/..a", b"/a/..b/c", b"/a..;b",
    b"/ADMIN", b"/a:b@c!$&'()*+,=~-_.", b"/%25", b"/a%20b", b"/a//../b",
]})  # fmt: skip
_accepted("legal pipelining", {
    "two GETs": get() + SECOND,
    "a POST and a GET": post(CL5, body=b"12345") + SECOND,
    "a chunked POST and a GET": chunked(b"5\r\n12345\r\n" + END) + SECOND,
    "a GET with a body and a GET": post(CL5, body=b"12345", line=b"GET /x HTTP/1.1") + SECOND,
}, messages=2)  # fmt: skip
_accepted("legal pipelining", {
    "what follows Connection: close is not read": get(b"Connection: close") + SECOND,
    "what follows HTTP/1.0 is not read": get(line=b"GET /x HTTP/1.0") + SECOND,
    "half a request at the end": get() + b"GET /smug",
})  # fmt: skip

VECTORS: tuple[Vector, ...] = tuple(_ROWS)
