"""The types of actions, made from their payloads and results: what a row says once is what the SDL shows.

An input's constraints are in the SDL as `@constraint`, read off the same `Meta` that is checked. A result that holds a
row which the schema shows elsewhere (a job, an agent) shows it here as the same type.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import strawberry
from msgspec import NODEFAULT, Meta
from strawberry.scalars import JSON

from db import agents, jobs, logs, queues, uploads
from db import operations as operation_rows
from db.rows import Row
from resolvers.actions import reading
from resolvers.actions.contract import Action, Payload
from schema import docs
from schema.directives import Constraint
from schema.scalars import BigInt
from schema.types.agents import Agent
from schema.types.jobs import Job, Upload
from schema.types.operations import Operation
from schema.types.system import LogLine, QueueState

SHOWN: Final[Mapping[type, type]] = {
    jobs.Job: Job,
    agents.Agent: Agent,
    uploads.Upload: Upload,
    queues.QueueState: QueueState,
    operation_rows.Operation: Operation,
    logs.LogLine: LogLine,
}
"""Rows that the schema has a type for already."""


class Types:
    """Makes the types of one schema, each of them once."""

    def __init__(self) -> None:
        self._made: dict[tuple[type, str], type] = {}

    def input(self, action: Action[Any, Any]) -> type:
        """The input of an action."""
        return self._input(action.payload, _capital(action.field) + "Input")

    def output(self, action: Action[Any, Any]) -> Any:
        """What an action answers."""
        name = _capital(action.field) + "Payload"
        if not action.long:
            return self._object(action.result, name)
        namespace = {
            "__doc__": docs.summary(action.result),
            "__annotations__": {"operation": Operation, "result": self._object(action.result, f"{name}Result") | None},
        }
        return strawberry.type(
            type(name, (), namespace), description="The operation that carries it out, and its result once it is done."
        )

    def _input(self, kind: type[Payload], name: str) -> type:
        if (kind, name) in self._made:
            return self._made[kind, name]
        texts, hints = docs.of_fields(kind), reading.fields(kind)
        namespace: dict[str, Any] = {"__annotations__": {}}
        for info in msgspec.structs.fields(kind):
            annotation = self._given(hints[info.name])
            if isinstance(info.default, Payload):
                # GraphQL would have the default written out; left out says the same.
                annotation |= None
            namespace["__annotations__"][info.name] = _perhaps(annotation) if kind.ONE_OF else annotation
            options: dict[str, Any] = {"description": texts.get(info.name)}
            if constraint := _constraint(hints[info.name]):
                options["directives"] = [constraint]
            if not kind.ONE_OF:
                options |= _default(info)
            namespace[info.name] = strawberry.field(**options)
        made = strawberry.input(
            type(name, (), namespace), name=name, description=docs.summary(kind), one_of=kind.ONE_OF or None
        )
        self._made[kind, name] = made
        return made

    def _given(self, annotation: Any) -> Any:
        return self._mapped(annotation, lambda kind: self._input(kind, kind.__name__), Payload)

    def _object(self, kind: type, name: str) -> Any:
        if kind in SHOWN:
            return SHOWN[kind]
        if (kind, name) in self._made:
            return self._made[kind, name]
        texts = docs.of_fields(kind)
        hints = get_type_hints(kind, include_extras=True)
        namespace: dict[str, Any] = {"__annotations__": {}}
        for field in kind.__struct_fields__:  # type: ignore[attr-defined]  # every row is a struct
            namespace["__annotations__"][field] = self._mapped(
                hints[field], lambda inner: self._object(inner, inner.__name__), Row
            )
            namespace[field] = strawberry.field(description=texts.get(field))
        made = strawberry.type(type(name, (), namespace), name=name, description=docs.summary(kind))
        self._made[kind, name] = made
        return made

    def _mapped(self, annotation: Any, nested: Any, base: type) -> Any:
        """An annotation of the house as the schema's."""
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            extra = [meta.extra or {} for meta in annotation.__metadata__ if isinstance(meta, Meta)]
            if any("names" in each or "id" in each for each in extra):
                return strawberry.ID
            if any("big" in each for each in extra):
                return BigInt
            return self._mapped(arguments[0], nested, base)
        if origin in (Union, UnionType):
            [inner] = [self._mapped(each, nested, base) for each in arguments if each is not NoneType]
            return inner | None
        if origin in (list, tuple, frozenset):
            return list[self._mapped(arguments[0], nested, base)]  # type: ignore[misc]  # made at run time
        if annotation is Any:
            return JSON | None
        if origin is dict or annotation is dict:
            return JSON
        if isinstance(annotation, type):
            if annotation is UUID:
                return strawberry.ID
            if issubclass(annotation, base):
                return nested(annotation)
            if issubclass(annotation, StrEnum):
                return _enum(annotation)
            if annotation in (str, int, float, bool, datetime, date):
                return annotation
        raise TypeError(f"an action cannot speak of {annotation}")


def _perhaps(annotation: Any) -> Any:
    """A member of a one-of: it may be left out, but not be null."""
    [inner] = [each for each in get_args(annotation) if each is not NoneType]
    return strawberry.Maybe[inner]  # type: ignore[misc, valid-type]  # made at run time


def plain(value: Any) -> Any:
    """What GraphQL made of an input, as plain data; what was not given is not there."""
    if isinstance(value, strawberry.Some):
        return plain(value.value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, list):
        return [plain(each) for each in value]
    if hasattr(type(value), "__strawberry_definition__"):
        return {
            field.python_name: plain(given)
            for field in type(value).__strawberry_definition__.fields
            if (given := getattr(value, field.python_name)) is not strawberry.UNSET and given is not None
        }
    return value


def _enum(kind: type[StrEnum]) -> Any:
    return kind if hasattr(kind, "__strawberry_definition__") else strawberry.enum(kind)


def _default(info: Any) -> dict[str, Any]:
    if isinstance(info.default, Payload):
        return {"default": None}
    if info.default is not NODEFAULT:
        return {"default": info.default}
    if info.default_factory is not NODEFAULT:
        return {"default_factory": info.default_factory}
    return {}


def _constraint(annotation: Any) -> Constraint | None:
    said: dict[str, Any] = {}
    for meta in reading.metas(annotation):
        for name, value in (
            ("min", meta.ge),
            ("max", meta.le),
            ("min_length", meta.min_length),
            ("max_length", meta.max_length),
            ("pattern", meta.pattern),
        ):
            if value is not None:
                said[name] = value
    return Constraint(**said) if said else None


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
