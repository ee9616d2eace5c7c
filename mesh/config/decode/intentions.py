"""`Kind = "service-intentions"`: who may call a service. The rules of one entry are checked here.

Rows are evaluated from the top and the first match wins, so a row after `*` could never match. Consul would sort it
upwards and let it win; a file that means two things to two readers is refused.
"""

from __future__ import annotations

from mesh.base.names import WILDCARD
from mesh.config.covers import covers
from mesh.config.decode.http_match import decode_http_match
from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import Action, HttpMatch, Permission, ServiceIntentions, SourceIntention
from mesh.config.hcl.tree import ObjectNode
from mesh.config.precedence import precedence_of

ENTRY_NOT_IMPLEMENTED = {
    "Namespace": "one entry for each mesh: Meshyard has one namespace",
    "Partition": "",
    "JWT": "",
    "SamenessGroup": "",
    "CreateIndex": "",
    "ModifyIndex": "",
}
# Each permission excludes all earlier ones in the RBAC policy it becomes, and `*` excludes every other source.
MAX_PERMISSIONS = 128
MAX_SOURCES = 1024
SOURCE_NOT_IMPLEMENTED = ("Namespace", "Partition", "Peer", "SamenessGroup", "LegacyID", "LegacyMeta")


def decode_intentions(fields: Fields, report: Report) -> ServiceIntentions:
    """Read an entry whose `Kind` was already taken."""
    name = fields.name("Name", "service", allows_wildcard=True)
    sources = tuple(_decode_source(node, name, report) for node in fields.blocks("Sources", MAX_SOURCES))
    meta = fields.mapping("Meta")
    if not sources:
        right = 'Sources = [{ Name = "order-service", Action = "allow" }]'
        report.add("service-intentions has no Sources", fields.place("Sources"), right)
    _refuse_duplicates(sources, report)
    _refuse_rows_after_wildcard(sources, report)
    fields.finish(ENTRY_NOT_IMPLEMENTED)
    return ServiceIntentions(name, sources, meta, fields.at)


def _decode_source(node: ObjectNode, destination: str, report: Report) -> SourceIntention:
    """Read one row: a source and either an action or permissions."""
    fields = Fields(node, "a source of intentions", report)
    name = fields.name("Name", "service", allows_wildcard=True)
    action = fields.choice("Action", Action)
    permissions = tuple(_decode_permission(block, report) for block in fields.blocks("Permissions", MAX_PERMISSIONS))
    has_action, has_permissions = fields.has("Action"), fields.has("Permissions")
    if has_action == has_permissions:
        found = "both Action and Permissions" if has_action else "neither Action nor Permissions"
        report.add(f'the source "{name}" has {found}', node.at, "exactly one of Action and Permissions")
    _refuse_dead_permissions(permissions, report)
    if has_permissions and not permissions:
        report.add(f'the Permissions of "{name}" are empty', fields.place("Permissions"), "at least one, or an Action")
    if has_permissions and destination == WILDCARD:
        reason = "Permissions on the destination '*', where it is not known what a service speaks"
        report.add(reason, fields.place("Permissions"), "an Action here, or Permissions in the entry of the service")
    source = SourceIntention(
        name=name,
        action=action,
        permissions=permissions,
        description=fields.text("Description"),
        precedence=precedence_of(destination, name),
        at=node.at,
    )
    _read_type(fields, report)
    _refuse_precedence(fields, source.precedence, report)
    fields.finish(SOURCE_NOT_IMPLEMENTED)
    return source


def _read_type(fields: Fields, report: Report) -> None:
    """Take `Type`, which Consul writes into what it exports; it has one value."""
    if fields.text("Type", "consul") != "consul":
        report.add("Type is not consul", fields.place("Type"), 'Type = "consul", or leaving it out')


def _refuse_precedence(fields: Fields, computed: int, report: Report) -> None:
    """Take `Precedence` when it is what would be computed; it cannot be set."""
    if fields.integer("Precedence") not in (None, computed):
        reason = f"Precedence is computed, and {computed} here; it cannot be set"
        report.add(reason, fields.place("Precedence"), "leaving it out; the order of the rows is the order of the rule")


def _decode_permission(node: ObjectNode, report: Report) -> Permission:
    """Read one L7 rule of a source."""
    fields = Fields(node, "a permission", report)
    action = fields.choice("Action", Action)
    if not fields.has("Action"):
        report.add("a permission has no Action", node.at, 'Action = "allow" or Action = "deny"')
    block = fields.block("HTTP")
    if block is None and not fields.has("HTTP"):
        report.add("a permission has no HTTP block", node.at, 'HTTP { PathPrefix = "/" ... }')
    http = decode_http_match(block, report) if block else HttpMatch()
    fields.finish(("JWT",))
    return Permission(action or Action.DENY, http, node.at)


def _refuse_dead_permissions(permissions: tuple[Permission, ...], report: Report) -> None:
    """Refuse a permission below one that takes every request it could take."""
    telling = [permission for permission in permissions if permission.http != HttpMatch()]  # others are faults already
    for index, later in enumerate(telling):
        for earlier in telling[:index]:
            if covers(earlier.http, later.http):
                line = earlier.at.line
                reason = f"this permission can never match: the one in line {line} takes all that it takes"
                report.add(reason, later.at, "the narrower permission above the broader one")
                break


def _refuse_duplicates(sources: tuple[SourceIntention, ...], report: Report) -> None:
    first: dict[str, SourceIntention] = {}
    for source in sources:
        if source.name in first:
            line = first[source.name].at.line
            report.add(f'the source "{source.name}" has a row in line {line} already', source.at, "one row per source")
        first.setdefault(source.name, source)


def _refuse_rows_after_wildcard(sources: tuple[SourceIntention, ...], report: Report) -> None:
    """Refuse every row below `*`: the first match wins, and `*` matches every caller."""
    wildcard = next((source for source in sources if source.name == WILDCARD), None)
    if wildcard is None:
        return
    for source in sources[sources.index(wildcard) + 1 :]:
        if source.name != WILDCARD:
            reason = (
                f'the row of "{source.name}" can never match: the row of "*" in line {wildcard.at.line} is above it'
            )
            report.add(reason, source.at, f'the row of "{source.name}" above the row of "*", which comes last')
