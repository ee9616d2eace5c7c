"""Consul's precedence of a row of intentions: computed from who and whom, never written.

| destination | source | precedence |
|---|---|---|
| exact | exact | 9 |
| exact | `*` | 8 |
| `*` | exact | 6 |
| `*` | `*` | 5 |

The highest number rules a pair of services. (Consul's enterprise namespaces use 7, 4, 3, 2 and 1.)
"""

from __future__ import annotations

from mesh.base.names import WILDCARD

_PRECEDENCE = {(False, False): 9, (False, True): 8, (True, False): 6, (True, True): 5}


def precedence_of(destination: str, source: str) -> int:
    """Return the precedence of the row for `source` in the entry of `destination`; either may be `*`."""
    return _PRECEDENCE[(destination == WILDCARD, source == WILDCARD)]
