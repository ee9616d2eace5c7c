"""The root's rotation in the HTTP API: where it stands, and one POST for each step."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mesh.api import shapes
from mesh.base.errors import RemoteProtocolError
from mesh.ca.authority import Authority
from mesh.ca.rotation import Event, due_at
from mesh.controlplane.authorities import fingerprint
from mesh.controlplane.errors import NotFoundError
from mesh.controlplane.http_shell import read_body
from mesh.controlplane.rotation import NEXT, RootRotation, root_id


def routes(rotation: RootRotation) -> list[web.RouteDef]:
    """Return the routes of a rotation."""

    async def status(request: web.Request) -> web.Response:
        """Show the slots, and who has not come along."""
        return web.json_response(rotation_shape(rotation))

    async def take(request: web.Request) -> web.Response:
        """Take a step; 409 `not_yet` names who would be left behind."""
        event = _event(request.match_info["step"])
        body = await read_body(request)
        asked = shapes.read_json_object(body) if body else {}
        force = asked.get("force", False)
        if not isinstance(force, bool) or set(asked) - {"force"}:
            raise RemoteProtocolError('rotating the root: the body is {"force": true}, {"force": false} or nothing')
        taken = await rotation.take(event, force=force)
        answer = {"step": event.value, "changed": taken.has_changed, "message": taken.said}
        return web.json_response({**answer, "rotation": rotation_shape(rotation)})

    return [web.get("/v1/ca/rotation", status), web.post("/v1/ca/rotation/{step}", take)]


def rotation_shape(rotation: RootRotation) -> dict[str, Any]:
    """Return where the rotation stands, as JSON."""
    kept, slots = rotation.record, rotation.slots
    laggards = rotation.laggards()
    step = NEXT[kept.stage]
    at = due_at(slots)
    return {
        "stage": kept.stage.name.lower(),
        "since": kept.since.isoformat() if kept.since else None,
        "roots": [
            _root_shape(role, number, rotation.generations[number])
            for role, number in (("active", kept.current), ("prepared", kept.prepared), ("old", kept.old))
            if number is not None
        ],
        "next": {
            "step": step.value,
            "allowed": step is Event.PREPARE or not laggards,
            "automatic_at": at.isoformat() if at else None,
        },
        "behind": [{"host": one.host, "service": one.service, "reason": one.reason} for one in laggards],
    }


def _root_shape(role: str, number: int, authority: Authority) -> dict[str, Any]:
    root = authority.root
    return {
        "role": role,
        "id": root_id(authority),
        "generation": number,
        "fingerprint": fingerprint(root),
        "not_before": root.not_before.isoformat(),
        "not_after": root.not_after.isoformat(),
        "signs_for": sorted(authority.intermediates) if role == "active" else [],
    }


def _event(text: str) -> Event:
    try:
        return Event(text)
    except ValueError:
        steps = ", ".join(event.value for event in Event)
        raise NotFoundError(f"rotating the root: {text[:40]!r} is not a step, steps are {steps}") from None
