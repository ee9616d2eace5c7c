"""The table of scenarios: what the mesh promises of a request, row by row."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.config.entries import Limits, PassiveHealthCheck
from tests.conformance.planes.known import (
    HEAD_REFUSED,
    HOP,
    NO_ROUTE,
    UNKNOWN_METHOD,
    VERSION,
    bad_chunk,
    decided,
    no_flag,
    not_tried,
    other_status,
    refused_here,
)
from tests.conformance.planes.peers import WAIT
from tests.conformance.planes.scenarios import (
    CHUNKED,
    GET,
    HEAD,
    KEYED,
    POST,
    Difference,
    Scenario,
    by_header,
    every,
    request,
)

ALIASES = (
    *(
        "x_forwarded_client_cert: URI=forged",
        "x-forwarded_client-cert: URI=forged",
        "X_Forwarded-Client-Cert: URI=forged",
    ),
    *("x_mesh_decision: forged", "x-mesh_source: forged", "x-mesh-source: forged"),
    *("x_envoy_internal: forged", "x-envoy_force-trace: forged", "x-envoy-retry_on: forged"),
)


def _known(*rows: Scenario) -> Mapping[str, Scenario]:
    found = {row.id: row for row in rows}
    assert len(found) == len(rows), "two scenarios have the same id"
    return found


ROUTING = (
    Scenario(
        "a request passes with its header fields and comes back", (request("GET", "/menu?size=big", "x-mine: 1"),)
    ),
    Scenario(
        "a route by exact path wins over the one behind it",
        (
            request("GET", "/report"),
            request("GET", "/report/"),
            request("GET", "/report?day=1"),
            request("GET", "/Report"),
        ),
        router='Routes = [{ Match { HTTP { PathExact = "/report" } } Destination { RequestTimeout = "2s" } }]',
    ),
    Scenario(
        "a prefix ends anywhere",
        (request("GET", "/v1"), request("GET", "/v1/x"), request("GET", "/v10"), request("GET", "/")),
        router='Routes = [{ Match { HTTP { PathPrefix = "/v1" } } Destination { NumRetries = 1 } }]',
    ),
    Scenario(
        "an expression has to take the whole path and not the query",
        (
            request("GET", "/receipt/12"),
            request("GET", "/receipt/12/x"),
            request("GET", "/receipt/12?x=/"),
            request("GET", "/a/receipt/1"),
        ),
        router='Routes = [{ Match { HTTP { PathRegex = "/receipt/[0-9]+" } } Destination { NumRetries = 1 } }]',
    ),
    Scenario(
        "header conditions: present, exact, prefix, suffix, contains, expression, inverted, any case",
        tuple(
            request("GET", "/", *fields)
            for fields in (
                (),
                ("x-tier: gold",),
                ("x-tier: GOLD",),
                ("x-tier: golden",),
                ("x-tier: old",),
                ("x-tier: a-gold-b",),
                ("x-tier: silver",),
                ("x-tier: gold", "x-tier: silver"),
                ("x-tier:",),
                ("X-TIER: gold",),
            )
        ),
        router=by_header(
            'Name = "x-tier" Exact = "gold"',
            'Name = "x-tier" Exact = "gold" IgnoreCase = true',
            'Name = "x-tier" Prefix = "golde"',
            'Name = "x-tier" Suffix = "ver"',
            'Name = "x-tier" Contains = "-gold-"',
            'Name = "x-tier" Regex = "o[a-l]d"',
            'Name = "x-tier" Present = true',
            'Name = "x-tier" Present = true Invert = true',
        ),
    ),
    Scenario(
        "of several values of a header each is looked at",
        tuple(
            request("GET", "/", *fields)
            for fields in (
                ("x-tier: gold", "x-tier: silver"),
                ("x-tier: silver", "x-tier: gold"),
                ("x-tier: gold", "x-tier: gold"),
                ("x-tier: silver", "x-tier: silver"),
                ("x-tier: gold,silver",),
                ("x-plan: a", "x-plan: b"),
                ("x-plan: a", "x-plan: a"),
                ("x-plan: b", "x-plan: b"),
                ("x-list: a", "x-list: b"),
            )
        ),
        router=by_header(
            'Name = "x-tier" Exact = "gold"',
            'Name = "x-plan" Exact = "a" Invert = true',
            'Name = "x-list" Exact = "a,b"',
        ),
    ),
    Scenario(
        "a route for methods takes those alone",
        (request("GET", "/"), POST, request("DELETE", "/x"), request("PUT", "/x", body=b"1"), request("OPTIONS", "/x")),
        router='Routes = [{ Match { HTTP { Methods = ["POST", "DELETE"] } } Destination { NumRetries = 1 } }]',
    ),
    Scenario(
        "paths are brought into one form before they are matched",
        tuple(
            request("GET", target)
            for target in (
                "/v1/../admin",
                "/a/./v1",
                "//v1",
                "/v1//x",
                "/%76%31",
                "/v1/%2e%2e/x",
                "/v1/..",
                "/v1/a%20b",
                "/v1/%41",
                "/v1;p=1",
                "/v1/x?y=//z/../",
            )
        ),
        router='Routes = [{ Match { HTTP { PathPrefix = "/v1" } } Destination { NumRetries = 1 } }]',
    ),
    Scenario(
        "an escaped slash has two readings and is refused",
        tuple(request("GET", target) for target in ("/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb")),
        differs=no_flag(0, 1, 2, 3),
    ),
    Scenario("a path that climbs above the root", (request("GET", "/../../v1"),), differs=refused_here()),
    Scenario("a backslash in a path", (request("GET", "/a\\b"),), differs=refused_here()),
)

RETRIES = (
    Scenario("a GET is tried again at another instance after a 503", (GET,) * 4, instances=("status:503", "ok")),
    Scenario("a 500 is no reason to try again", (GET,) * 2, instances=("status:500",)),
    Scenario("a POST without a key is not repeated after a 503", (POST,) * 4, instances=("status:503", "ok")),
    Scenario("a POST with a key is", (KEYED,) * 4, instances=("status:503", "ok")),
    Scenario("a reset is tried again for a GET", (GET,) * 4, instances=("reset", "ok")),
    Scenario("a reset is not tried again for a POST", (POST,) * 4, instances=("reset", "ok")),
    Scenario(
        "where nobody listens every request is tried elsewhere",
        (POST,) * 4,
        instances=("dead", "ok"),
    ),
    Scenario("where nobody listens at all the answer is 503", (GET, POST), instances=("dead",)),
    Scenario(
        "the other sidecar's word that nothing was delivered is believed", (POST,) * 4, instances=("undelivered", "ok")
    ),
    Scenario("after all tries the last answer passes", (GET,), instances=("status:503", "status:503", "status:503")),
    Scenario("two retries are the most by default", (GET,), instances=("status:503",)),
    Scenario(
        "a router may ask for none",
        (GET, GET),
        router=every("NumRetries = 0"),
        instances=("status:503", "ok"),
    ),
    Scenario(
        "5xx takes a 500 as well",
        (GET,) * 4,
        router=every('RetryOn = ["5xx"] NumRetries = 2'),
        instances=("status:500", "ok"),
    ),
    Scenario(
        "gateway-error takes 502, 503 and 504 and no 500",
        (
            request("GET", "/", "x-do: status:502"),
            request("GET", "/", "x-do: status:500"),
            request("GET", "/", "x-do: status:504"),
        ),
        router=every('RetryOn = ["gateway-error"] NumRetries = 1'),
    ),
    Scenario(
        "retriable-4xx takes 409 alone",
        (request("GET", "/", "x-do: status:409"), request("GET", "/", "x-do: status:404")),
        router=every('RetryOn = ["retriable-4xx"] NumRetries = 1'),
    ),
    Scenario(
        "written status codes and no others",
        (request("GET", "/", "x-do: status:418"), request("GET", "/", "x-do: status:503")),
        router=every("RetryOnStatusCodes = [418] NumRetries = 1"),
    ),
    Scenario(
        "a caller's own retry headers count",
        (
            request("GET", "/", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 1", "x-do: status:500"),
            request("GET", "/", "x-envoy-max-retries: 0", "x-do: status:503"),
        ),
    ),
    Scenario(
        "an instance that answers too late is tried elsewhere when the try has its own time",
        (GET,) * 2,
        router=every('PerTryTimeout = "1s" RequestTimeout = "6s" RetryOn = ["reset", "5xx"] NumRetries = 2'),
        instances=("slow:5", "ok"),
    ),
    Scenario(
        "the whole request has a time as well",
        (GET, POST),
        router=every('RequestTimeout = "1s"'),
        instances=("slow:5",),
    ),
)

OUTLIERS = (
    Scenario(
        "failures in a row eject an instance when there is room",
        (request("GET", "/"),) * 8,
        router=every("NumRetries = 0"),
        instances=("status:500", "ok"),
        passive=PassiveHealthCheck(max_failures=2, max_ejection_percent=50),
    ),
    Scenario(
        "one of two is not ejected under the default cap",
        (request("GET", "/"),) * 8,
        router=every("NumRetries = 0"),
        instances=("status:500", "ok"),
        passive=PassiveHealthCheck(max_failures=2),
    ),
    Scenario(
        "a success between failures begins the count anew",
        tuple(request("GET", "/", f"x-do: {word}") for word in ("status:500", "ok", "status:500", "ok", "status:500")),
        router=every("NumRetries = 0"),
        passive=PassiveHealthCheck(max_failures=2, max_ejection_percent=100),
    ),
    Scenario(
        "with everybody ejected all take traffic: panic",
        (request("GET", "/"),) * 6,
        router=every("NumRetries = 0"),
        instances=("status:500", "status:500"),
        passive=PassiveHealthCheck(max_failures=1, max_ejection_percent=100),
        is_any_instance=True,
    ),
    Scenario(
        "a reset counts as a failure",
        (request("GET", "/"),) * 6,
        router=every("NumRetries = 0"),
        instances=("reset", "ok"),
        passive=PassiveHealthCheck(max_failures=2, max_ejection_percent=50),
    ),
    Scenario("unhealthy instances take nothing", (GET,) * 4, instances=("sick", "ok", "ok")),
    Scenario(
        "without a healthy instance there is no upstream, when panic cannot help",
        (GET, POST),
        instances=(),
        differs=not_tried(0, 1),
    ),
)

LIMITS = (
    Scenario(
        "a second request at the same time finds no room",
        (request("GET", "/", "x-do: slow:2"),) * 3,
        limits=Limits(max_concurrent_requests=1),
        is_at_once=True,
        differs=not_tried(1, 2),
    ),
    Scenario(
        "beyond the connections a request waits, and beyond the waiting it is refused",
        (request("GET", "/", "x-do: slow:2"),) * 3,
        limits=Limits(max_connections=1, max_pending_requests=1),
        is_at_once=True,
    ),
)

BODIES = (
    Scenario("a body with a length passes", (request("POST", "/", "x-do: echo", body=b"x" * 100_000),)),
    Scenario(
        "a body in chunks passes",
        (
            b"POST / HTTP/1.1\r\nhost: {host}\r\nx-do: echo\r\ntransfer-encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n",
        ),
    ),
    Scenario("an answer in chunks passes", (request("GET", "/", "x-do: chunked"),)),
    Scenario(
        "trailers of an answer pass or do not, alike",
        (request("GET", "/", "x-do: trailers", "te: trailers"),),
        differs=(
            Difference("answers.0.headers.trailer", "(absent)", ["x-sum"], HOP),
            Difference("seen.0.headers.te", "(absent)", ["trailers"], HOP),
        ),
    ),
    Scenario(
        "trailers of a request pass or do not, alike",
        (
            b"POST / HTTP/1.1\r\nhost: {host}\r\nx-do: echo\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
            b"5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n",
        ),
        differs=(Difference("seen.0.headers.trailer", "(absent)", ["x-sum"], HOP),),
    ),
    Scenario("an answer that ends with its connection passes", (request("GET", "/", "x-do: until-close"), GET)),
    Scenario("an answer cut short is cut short for the caller, too", (request("GET", "/", "x-do: truncated"),)),
    Scenario("a big answer", (request("GET", "/", "x-do: big:3000000"),)),
    Scenario("an answer to HEAD has no body", (request("HEAD", "/"), GET)),
    Scenario(
        "204 and 304 have none", (request("GET", "/", "x-do: status:204"), request("GET", "/", "x-do: status:304"), GET)
    ),
    Scenario(
        "Expect: 100-continue is answered",
        (
            b"POST / HTTP/1.1\r\nhost: {host}\r\nexpect: 100-continue\r\nx-do: echo\r\ncontent-length: 4\r\n\r\n"
            + WAIT
            + b"body",
        ),
    ),
    Scenario("an answer before the body was sent", (request("POST", "/", "x-do: before-body:413", body=b"small"),)),
    Scenario("early hints are passed on or dropped, alike", (request("GET", "/", "x-do: hints"),)),
    Scenario(
        "several requests on one connection are answered in order",
        ((request("GET", "/1"), request("POST", "/2", body=b"two"), request("GET", "/3")),),
    ),
    Scenario("a caller who wants to close is closed", ((request("GET", "/", "connection: close"),),)),
    Scenario(
        "HTTP/1.0 is spoken, or is refused, alike",
        (
            b"GET / HTTP/1.0\r\nhost: {host}\r\n\r\n",
            b"GET / HTTP/1.0\r\nhost: {host}\r\nconnection: keep-alive\r\n\r\n",
        ),
    ),
)

FIELDS = (
    Scenario(
        "hop-by-hop fields stay on their hop",
        (
            request(
                "GET",
                "/",
                "connection: x-private",
                "x-private: 1",
                "keep-alive: 5",
                "te: trailers",
                "proxy-connection: x",
            ),
        ),
        differs=(Difference("seen.0.headers.te", "(absent)", ["trailers"], HOP),),
    ),
    Scenario(
        "hop-by-hop fields of an answer stay on theirs",
        (request("GET", "/", "x-do: hop"),),
        differs=(Difference("answers.0.headers.x-private", "(absent)", ["1"], HOP),),
    ),
    Scenario(
        "what only a sidecar may say is taken from a caller",
        (
            request(
                "GET",
                "/",
                "x-forwarded-client-cert: By=me",
                "x-envoy-attempt-count: 7",
                "x-mesh-decision: allow",
                "x-envoy-original-path: /x",
                "x-forwarded-for: 1.2.3.4",
                "x-forwarded-proto: https",
            ),
        ),
    ),
    Scenario("nor does it pass with underscores for dashes", (request("GET", "/", "user_id: 7", *ALIASES),)),
    Scenario("a request id is kept where there is one", (request("GET", "/", "x-request-id: 4711"),)),
    Scenario(
        "repeated fields keep their order",
        (request("GET", "/", "x-a: 1", "x-b: 2", "x-a: 3", "cookie: a=1", "cookie: b=2"),),
    ),
    Scenario("names of an upstream are not told to a caller", (request("GET", "/", "x-do: undelivered"),)),
)

ODD: dict[str, tuple[Difference, ...]] = {
    "no host": no_flag(0),
    "two hosts": refused_here(),
    "a folded field": refused_here(),
    "bare line feeds": refused_here(),
    "a bare carriage return": refused_here(),
    "a method in lower case": other_status(501, 400, UNKNOWN_METHOD),
    "an unknown method": other_status(501, 400, UNKNOWN_METHOD),
    "CONNECT": other_status(403, 404, "it is refused for what it is; Envoy finds no route for it", flags=("DPE", "NR")),
    "the asterisk": (Difference("log.0.response_flags", "NR", "-", NO_ROUTE),),
    "HTTP/2.0 in the line": refused_here(VERSION, status=505),
    "an HTTP/2 preface": other_status(505, 400, VERSION),
    "a fragment in the target": no_flag(0),
    "empty lines before the request": refused_here(),
    "an upgrade": (
        Difference(
            "answers.0.status",
            200,
            403,
            "no upgrade is ever done; the request is answered without it, as RFC 9110 section 7.8 allows",
            HEAD_REFUSED,
        ),
    ),
    "a chunk size with a sign": bad_chunk(),
    "a chunk size that is no number": bad_chunk(),
    "a chunk without its end": bad_chunk(),
}
ODDITIES = tuple(
    Scenario(f"oddity: {said}", ((raw,),), differs=ODD.get(said, ()))
    for said, raw in (
        ("no host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", b"GET" + HEAD + b"host: other\r\n\r\n"),
        ("an absolute target", b"GET http://other/x HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("both lengths", b"POST" + HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths that differ", b"POST" + HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("a length with a sign", b"POST" + HEAD + b"content-length: +1\r\n\r\na"),
        ("an unknown transfer coding", b"POST" + HEAD + b"transfer-encoding: gzip\r\n\r\n"),
        ("chunked is not the last coding", b"POST" + HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", b"GET" + HEAD + b"x-a : 1\r\n\r\n"),
        ("a folded field", b"GET" + HEAD + b"x-a: 1\r\n 2\r\n\r\n"),
        ("a NUL in a value", b"GET" + HEAD + b"x-a: a\x00b\r\n\r\n"),
        ("bare line feeds", b"GET / HTTP/1.1\nhost: {host}\n\n"),
        ("a bare carriage return", b"GET" + HEAD + b"x-a: 1\r2\r\n\r\n"),
        ("a name with a space", b"GET" + HEAD + b"x a: 1\r\n\r\n"),
        ("an empty name", b"GET" + HEAD + b": 1\r\n\r\n"),
        ("a method in lower case", b"get / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("an unknown method", b"BREW / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("CONNECT", b"CONNECT {host}:80 HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("TRACE", b"TRACE / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("the asterisk", b"OPTIONS * HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("HTTP/2.0 in the line", b"GET / HTTP/2.0\r\nhost: {host}\r\n\r\n"),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("no HTTP at all", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 not http \r\n\r\n"),
        ("a space in the target", b"GET /a b HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("a fragment in the target", b"GET /a#b HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("empty lines before the request", b"\r\n\r\nGET / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("an upgrade", b"GET" + HEAD + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        ("too many fields", b"GET" + HEAD + b"" + b"".join(b"x-%d: 1\r\n" % n for n in range(120)) + b"\r\n"),
        ("too big a field", b"GET" + HEAD + b"x-a: " + b"a" * 70_000 + b"\r\n\r\n"),
        ("a chunk size with a sign", CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size that is no number", CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n"),
        ("a chunk without its end", CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n"),
        ("bytes above 127 in a value", b"GET" + HEAD + b"x-a: \xff\xfe\r\n\r\n"),
    )
)  # fmt: skip

ODD_ANSWERS: dict[str, tuple[Difference, ...]] = {
    "a status of four digits": refused_here(status=502, envoy=2000),
    "a folded field": refused_here(status=502),
    "a 101 nobody asked for": refused_here(status=502, envoy=101),
    "bare line feeds": refused_here(status=502),
}
ANSWERS = tuple(
    Scenario(f"an upstream's oddity: {said}", (request("GET", "/", f"x-do: raw:{raw}"),),
             router=every('NumRetries = 0'),
             differs=ODD_ANSWERS.get(said, ()))
    for said, raw in (
        ("no HTTP", "what?\\r\\n\\r\\n"),
        ("both lengths", "HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"),
        ("two lengths", "HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\ncontent-length: 3\\r\\n\\r\\nabc"),
        ("a status of four digits", "HTTP/1.1 2000 OK\\r\\ncontent-length: 0\\r\\n\\r\\n"),
        ("a folded field", "HTTP/1.1 200 OK\\r\\nx-a: 1\\r\\n 2\\r\\ncontent-length: 0\\r\\n\\r\\n"),
        ("a 101 nobody asked for", "HTTP/1.1 101 Switching\\r\\nconnection: upgrade\\r\\nupgrade: x\\r\\n\\r\\n"),
        ("HTTP/1.0 without a length", "HTTP/1.0 200 OK\\r\\n\\r\\nold"),
        ("more than was announced", "HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nabcdef"),
        ("bare line feeds", "HTTP/1.1 200 OK\\ncontent-length: 2\\n\\nok"),
        ("nothing at all", ""),
    )
)  # fmt: skip

ALLOWED = 'Sources = [{ Name = "pulse-service" Action = "allow" }]'
CALLED = (
    Scenario(
        "a caller with an intention is let in, and named to the application",
        (request("GET", "/x", "x-mine: 1"),),
        intentions=ALLOWED,
    ),
    Scenario(
        "one without is refused",
        (GET, POST),
        intentions=ALLOWED,
        caller="stranger-service",
        differs=(
            *decided(
                0,
                "default deny: no intention allows spiffe://dominos.internal/ns/production/sa/stranger-service",
                "none",
            ),
            *decided(
                1,
                "default deny: no intention allows spiffe://dominos.internal/ns/production/sa/stranger-service",
                "none",
            ),
        ),
    ),
    Scenario(
        "a rule that says no",
        (GET,),
        intentions='Sources = [{ Name = "pulse-service" Action = "deny" }, { Name = "*" Action = "allow" }]',
        differs=decided(0, "intentions/SERVICE#1:pulse-service", "intentions/SERVICE#1:pulse-service"),
    ),
    Scenario(
        "everybody but one",
        (GET,),
        intentions='Sources = [{ Name = "other-service" Action = "deny" }, { Name = "*" Action = "allow" }]',
    ),
    Scenario(
        "permissions by path and method",
        (
            request("GET", "/menu"),
            request("POST", "/menu", body=b"1"),
            request("GET", "/menu/1"),
            request("GET", "/x/../menu"),
            request("GET", "/menu?x"),
            request("GET", "//menu"),
        ),
        intentions="""Sources = [{ Name = "pulse-service" Permissions = [
               { Action = "deny" HTTP { PathExact = "/menu/1" } },
               { Action = "allow" HTTP { PathPrefix = "/menu" Methods = ["GET"] } } ] }]""",
        differs=(
            *decided(
                1, "default deny: no intention allows spiffe://dominos.internal/ns/production/sa/pulse-service", "none"
            ),
            *decided(
                2, "intentions/SERVICE#1:pulse-service/permission 1", "intentions/SERVICE#1:pulse-service/permission_1"
            ),
        ),
    ),
    Scenario(
        "a caller cannot name itself",
        (request("GET", "/", "x-forwarded-client-cert: URI=spiffe://dominos.internal/ns/production/sa/admin"),),
        intentions=ALLOWED,
    ),
    Scenario(
        "a caller cannot name itself with underscores either, or wish for anything",
        (request("GET", "/", "user_id: 7", "x-envoy-retry-on: 5xx", "x-envoy-force-trace: 1", *ALIASES),),
        intentions=ALLOWED,
    ),
    Scenario(
        "an application that resets",
        (request("GET", "/", "x-do: reset"), request("POST", "/", "x-do: reset", body=b"1")),
        intentions=ALLOWED,
    ),
    Scenario(
        "an application that is too slow",
        (request("GET", "/", "x-do: slow:2"),),
        intentions=ALLOWED,
        local_timeout_s=0.4,
    ),
    Scenario(
        "an application cannot say that nothing was delivered",
        (request("GET", "/", "x-do: undelivered"),),
        intentions=ALLOWED,
    ),
)

SCENARIOS = _known(*ROUTING, *RETRIES, *OUTLIERS, *LIMITS, *BODIES, *FIELDS, *ODDITIES, *ANSWERS, *CALLED)
