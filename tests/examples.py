"""A payload for every action: as little as it takes to be understood, and as harmless as it can be.

What an action is about is one of three: the caller's own, somebody else's, or nothing that there is.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Final, get_args, get_origin
from uuid import UUID, uuid4

import msgspec

from resolvers.actions import reading
from resolvers.actions.contract import Action, Payload


class Subject(StrEnum):
    """Whose it is what an action is about."""

    OWN = "own"
    FOREIGN = "foreign"
    MISSING = "missing"


GIVEN: Final[dict[str, dict[str, Any]]] = {
    "system.emergency_stop": {"confirm": "EMERGENCY STOP"},
    "worker.create_generic": {"agent_chain": ["clipper"]},
    "logs.clear": {"level": "debug"},
    "logs.clear_all": {"confirm": "CLEAR ALL LOGS"},
    "database.export_data": {"tables": ["jobs"]},
    "job.update_status": {"status": "cancelled"},
    "job.create": {"source": {"url": "https://example.org/video.mp4"}},
    "worker.configure": {"max_jobs": 2},
    "agent.configure": {"timeout_s": 60},
    "agents.configure": {"agents": [{"agent_id": "clipper", "timeout_s": 60}]},
    "config.add_agent": {"id": "short-clipper", "display_name": "Short", "base_agent": "clipper"},
    "config.configure_agent": {"enabled": True},
    "config.save": {"values": {"log_level": "info"}},
    "config.reset_defaults": {"confirm": "RESET CONFIGURATION"},
}
"""What required fields are given where their type does not tell."""

KNOWN: Final = {"agent_id": "clipper"}
"""Fields that name something which there always is."""


def subjects(action: Action[Any, Any]) -> list[Subject]:
    """Whose things an action may be about; one that is about no row of anybody's has one subject."""
    return list(Subject) if about(action) else [Subject.OWN]


def about(action: Action[Any, Any]) -> frozenset[str]:
    """What kinds of things an action names: `job`, `upload`."""
    return frozenset(_references(action.payload).values())


def example(action: Action[Any, Any], things: Mapping[str, UUID]) -> dict[str, Any]:
    """A payload of an action about these things, by their kind; one that is not among them is nowhere."""
    given = dict(GIVEN.get(action.name, {}))
    for info in msgspec.structs.fields(action.payload):
        if info.name not in given and (info.required or info.name in _references(action.payload)):
            given[info.name] = KNOWN.get(info.name) or _value(reading.fields(action.payload)[info.name], things)
    return given


def _references(kind: type[Payload]) -> dict[str, str]:
    """The fields that name a row of somebody's, with the kind of it."""
    return {
        name: str(meta.extra["names"])
        for name, annotation in reading.fields(kind).items()
        for meta in reading.metas(annotation)
        if meta.extra and "names" in meta.extra
    }


def _value(annotation: Any, things: Mapping[str, UUID]) -> Any:
    for meta in reading.metas(annotation):
        if meta.extra and "names" in meta.extra:
            return str(things.get(str(meta.extra["names"])) or uuid4())
    while get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation)).value
    if isinstance(annotation, type) and issubclass(annotation, Payload):
        return {}
    plain = {bool: True, int: 1, float: 1.0, UUID: str(uuid4()), datetime: "2026-01-01T00:00:00Z", date: "2026-01-01"}
    return plain.get(annotation, [] if get_origin(annotation) is list else "example")
