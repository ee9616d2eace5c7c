"""When one match makes a later one useless: rules are asked in order, and the first that matches decides."""

from __future__ import annotations

from mesh.config.entries import HttpMatch


def covers(broad: HttpMatch, narrow: HttpMatch) -> bool:
    """Say whether `broad` surely takes every request that `narrow` takes; False may mean "not known".

    Two regular expressions are only compared as text.
    """
    return (
        _covers_path(broad, narrow)
        and (not broad.methods or (bool(narrow.methods) and set(narrow.methods) <= set(broad.methods)))
        and set(broad.headers) <= set(narrow.headers)
    )


def _covers_path(broad: HttpMatch, narrow: HttpMatch) -> bool:
    if broad.path_prefix is not None:
        if broad.path_prefix == "/":
            return True  # every path that reaches a match begins with "/"
        begins = narrow.path_exact if narrow.path_exact is not None else narrow.path_prefix
        return begins is not None and begins.startswith(broad.path_prefix)
    if broad.path_exact is not None:
        return narrow.path_exact == broad.path_exact
    return broad.path_regex is None or narrow.path_regex == broad.path_regex
