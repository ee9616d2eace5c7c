"""`HTTP { ... }`: what a request must show, for a permission of intentions and for a route."""

from __future__ import annotations

import re

from mesh.base.errors import ConfigError
from mesh.base.regex import compile_regex
from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import HeaderMatch, HttpMatch
from mesh.config.hcl.tree import ObjectNode

PATHS = ("PathExact", "PathPrefix", "PathRegex")
CONDITIONS = ("Present", "Exact", "Prefix", "Suffix", "Contains", "Regex")
# RFC 9110 section 5.6.2: what a header name is made of. Methods have fewer signs here than there: several methods
# become one regular expression for the proxies, and no method that exists has more.
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_NAME_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_RIGHT_NAME = "letters, digits and signs such as '-'"


def decode_http_match(node: ObjectNode, report: Report, not_implemented: tuple[str, ...] = ()) -> HttpMatch:
    """Read one match: at most one path condition, headers, methods; all given parts must match.

    Source: Consul service-intentions, Permissions.HTTP, and service-router, Match.HTTP.
    """
    fields = Fields(node, "an HTTP match", report)
    exact, prefix = fields.optional_text("PathExact"), fields.optional_text("PathPrefix")
    regex = read_regex(fields, "PathRegex")
    given = [key for key in PATHS if fields.has(key)]
    if len(given) > 1:
        report.add(f"{' and '.join(given)} stand in one HTTP match", fields.place(given[1]), "one of them")
    for key, path in (("PathExact", exact), ("PathPrefix", prefix)):
        if path is not None and not path.startswith("/"):
            report.add(f'{key}: "{path[:80]}" does not begin with "/"', fields.place(key), f'{key} = "/{path[:80]}"')
    if regex == "":
        report.add("PathRegex is empty", fields.place("PathRegex"), 'PathRegex = "/v[12]/.*"')
    headers = tuple(decode_header_match(header, report) for header in fields.blocks("Header"))
    methods = read_methods(fields)
    fields.finish(not_implemented)
    if not (given or fields.has("Header") or fields.has("Methods")):
        right = f'{", ".join(PATHS)}, Header or Methods; for everything: PathPrefix = "/"'
        report.add("an HTTP match says nothing", node.at, right)
    return HttpMatch(exact, prefix, regex, headers, methods)


def decode_header_match(node: ObjectNode, report: Report) -> HeaderMatch:
    """Read one header condition: a name and exactly one way to match."""
    fields = Fields(node, "a header match", report)
    name = fields.required_text("Name", '"x-team", the name of a header').lower()
    if name and not set(name) <= _NAME_CHARS:
        report.add(f'Name: "{name[:80]}" is no header name', fields.place("Name"), _RIGHT_NAME)
    match = HeaderMatch(
        name=name,
        present=fields.optional_boolean("Present"),
        exact=fields.optional_text("Exact"),
        prefix=fields.optional_text("Prefix"),
        suffix=fields.optional_text("Suffix"),
        contains=fields.optional_text("Contains"),
        regex=read_regex(fields, "Regex"),
        invert=fields.boolean("Invert"),
        ignore_case=fields.boolean("IgnoreCase"),
    )
    given = [key for key in CONDITIONS if fields.has(key)]
    if len(given) != 1:
        found = " and ".join(given) if given else "no condition"
        report.add(f"the match of header {name} has {found}", node.at, f"exactly one of {', '.join(CONDITIONS)}")
    empty = [key for key in ("Prefix", "Suffix", "Contains", "Regex") if fields.optional_text(key) == ""]
    if empty:
        report.add(f"{empty[0]} of header {name} is empty", fields.place(empty[0]), "Present = true for any value")
    if match.ignore_case and given and given[0] in ("Present", "Regex"):
        right = "(?i) at the beginning of the expression" if given[0] == "Regex" else "leaving it out"
        report.add(f"IgnoreCase says nothing beside {given[0]}", fields.place("IgnoreCase"), right)
    fields.finish()
    return match


def read_regex(fields: Fields, key: str) -> str | None:
    """Read a regular expression, and compile it once to see that it is one."""
    pattern = fields.optional_text(key)
    if pattern:
        try:
            compile_regex(pattern)
        except ConfigError as error:
            fields.report.attach(error, fields.place(key), key)
    return pattern


def read_methods(fields: Fields) -> tuple[str, ...]:
    """Read `Methods`: upper-cased, each once."""
    methods: list[str] = []
    for written, at in fields.texts("Methods"):
        method = written.upper()
        if not _METHOD.fullmatch(method):
            fields.report.add(f'Methods: "{written[:80]}" is no method', at, '["GET", "POST"]')
        elif method in methods:
            fields.report.add(f"Methods: {method} stands there twice", at, "each method once")
        methods.append(method)
    return tuple(methods)
