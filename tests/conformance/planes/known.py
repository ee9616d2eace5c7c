"""In what the two data planes differ, and why that is right. docs/reference/sidecar-parity.md tells it to people."""

from __future__ import annotations

from tests.conformance.planes.scenarios import Difference

STRICTER = "stricter here: whoever stands behind us may read it in another way, which is how requests are smuggled"
HOP = "a field of one hop: taken out here, as RFC 9110 section 7.6.1 wants; Envoy lets it pass"
NEVER_TRIED = "no endpoint was tried: 0 here, while Envoy counts the try that found nobody"
NO_ROUTE = "a request without a route always has the flag NR here"
BEFORE_ROUTES = "intentions are asked before routes here, so a refused request has none"
DECISION = "the rule that decided is named in words here; Envoy gives the detail that its access log has"
UNKNOWN_METHOD = "501 is what RFC 9110 section 9.1 gives to a method that is not known; Envoy's parser says 400"
VERSION = "505 is what RFC 9110 section 15.6.6 gives to another version"
HEAD_REFUSED = ("answers.0", "log.0", "seen")


def refused_here(why: str = STRICTER, *, status: int = 400, envoy: int = 200, at: int = 0) -> tuple[Difference, ...]:
    """Return the difference of a message that is refused here and passes with Envoy."""
    follows = (f"answers.{at}.", f"log.{at}.", "seen")
    return (Difference(f"answers.{at}.status", status, envoy, why, follows),)


def other_status(python: int, envoy: int, why: str, *, flags: tuple[str, str] | None = None) -> tuple[Difference, ...]:
    """Return the difference of a message that both refuse, with another status."""
    found = [Difference("answers.0.status", python, envoy, why, ("log.0.response_code",))]
    if flags:
        found.append(Difference("log.0.response_flags", *flags, why))
    return tuple(found)


def no_flag(*records: int) -> tuple[Difference, ...]:
    """Return the difference of requests that both refuse, for which Envoy sets no response flag."""
    why = "a refused message always has the flag DPE here; Envoy sets it only for what its parser refuses"
    return tuple(Difference(f"log.{number}.response_flags", "DPE", "-", why) for number in records)


def not_tried(*records: int) -> tuple[Difference, ...]:
    """Return the difference of requests for which there was nobody to try."""
    return tuple(Difference(f"log.{number}.attempt_count", 0, 1, NEVER_TRIED) for number in records)


def decided(number: int, rule: str, policy: str) -> tuple[Difference, ...]:
    """Return the differences of a request that the intentions refuse."""
    details = f"rbac_access_denied_matched_policy[{policy}]"
    return (
        Difference(f"answers.{number}.headers.x-mesh-decision.0", rule, details, DECISION),
        Difference(f"log.{number}.route_name", None, "inbound", BEFORE_ROUTES),
        Difference(f"log.{number}.upstream_cluster", None, "local_app", BEFORE_ROUTES),
    )


def bad_chunk() -> tuple[Difference, ...]:
    """Return the differences of a request whose first chunk is already wrong."""
    why = "a chunk that comes with its head is read before anything is decided; Envoy has begun to route"
    return (
        Difference("log.0.attempt_count", 0, 1, why),
        Difference("log.0.route_name", None, "SERVICE/default/once", why),
        Difference("log.0.upstream_cluster", None, "SERVICE", why),
    )
