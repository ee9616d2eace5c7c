"""service-router: routes, their destinations and how hard they try."""

from __future__ import annotations

import pytest

from mesh.config.decode.router import RETRY_ON, RETRY_ON_NOT_IMPLEMENTED
from mesh.config.entries import HttpMatch, RouteDestination, ServiceRouter
from mesh.config.load import load_text
from tests.fakes.config_faults import errors_of


def router(routes: str) -> str:
    """Return a file; the routes begin in line 3."""
    return 'Kind = "service-router"\nName = "payment-service"\n' + routes


def test_a_whole_entry() -> None:
    text = router("""
Routes = [
  {
    Match { HTTP { PathPrefix = "/v2", Methods = ["GET"] } }
    Destination {
      Service = "payment-v2"
      RequestTimeout = "3s"
      PerTryTimeout = "1s"
      NumRetries = 2
      RetryOn = ["5xx", "reset"]
      RetryOnConnectFailure = true
      RetryOnStatusCodes = [502, 503]
    }
  },
  { Destination { NumRetries = 0 } },
]
""")
    (entry,) = load_text(text, "f.hcl").entries
    assert isinstance(entry, ServiceRouter)
    first, second = entry.routes
    assert first.match == HttpMatch(path_prefix="/v2", methods=("GET",))
    assert first.destination == RouteDestination("payment-v2", 3.0, 1.0, 2, ("5xx", "reset"), True, (502, 503))
    assert second.match is None
    assert second.destination == RouteDestination(num_retries=0)


@pytest.mark.parametrize("word", RETRY_ON)
def test_every_word_that_is_acted_on_is_read(word: str) -> None:
    assert load_text(router(f'Routes {{ Destination {{ RetryOn = ["{word}"] }} }}'), "f").entries


@pytest.mark.parametrize("word", sorted(RETRY_ON_NOT_IMPLEMENTED))
def test_a_word_of_envoys_is_refused_by_name(word: str) -> None:
    assert errors_of(router(f'Routes {{ Destination {{ RetryOn = ["{word}"] }} }}')) == [
        f'3:35 RetryOn: "{word}" is known to Envoy and not implemented by Meshyard'
    ]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param(
            router('Routes { Destination { RetryOn = ["5xx,reset"] } }'),
            ['3:35 RetryOn: "5xx,reset" is not known'],
            id="two words in one",
        ),
        pytest.param(
            router("Routes { Destination { RetryOnStatusCodes = [99] } }"),
            ["3:46 RetryOnStatusCodes in the Destination of a route is the number 99"],
            id="no status code",
        ),
        pytest.param(
            router("Routes { Destination { NumRetries = 101 } }"),
            ["3:37 NumRetries in the Destination of a route is the number 101"],
            id="too many retries",
        ),
        pytest.param(
            router("Routes { Destination { RequestTimeout = 5 } }"),
            ["3:41 RequestTimeout in the Destination of a route is the number 5"],
            id="a timeout without a unit",
        ),
        pytest.param(
            router('Routes { Destination { PrefixRewrite = "/" } }'),
            ['3:24 "PrefixRewrite" in the Destination of a route is known to Consul and not implemented by Meshyard'],
            id="a key of Consul's",
        ),
        pytest.param(
            router('Routes { Match { HTTP { PathPrefix = "/a" QueryParam { Name = "x" } } } }'),
            ['3:43 "QueryParam" in an HTTP match is known to Consul and not implemented by Meshyard'],
            id="a match of Consul's",
        ),
        pytest.param(
            router('Routes = [{},\n{ Match { HTTP { PathExact = "/a" } } }]'),
            ["4:1 this route can never match: the one in line 3 takes all that it takes"],
            id="a route below one for everything",
        ),
        pytest.param(
            router('Routes { Match { HTTP { PathPrefix = "/a" } } }\nRoutes { Match { HTTP { PathExact = "/a/b" } } }'),
            ["4:8 this route can never match: the one in line 3 takes all that it takes"],
            id="a route below a broader one",
        ),
        pytest.param(
            router('Routes { Destination { Service = "A b" } }'),
            ["3:34 Service: reading the name of a service: 'A b' is not a DNS label"],
            id="no name of a service",
        ),
    ],
)
def test_faults(text: str, errors: list[str]) -> None:
    assert errors_of(text) == errors
