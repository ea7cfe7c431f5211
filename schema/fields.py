"""How types and fields are declared here: each root field says who may use it, and every description is a docstring.

The four decorators hand back what they were given as far as the type checker is concerned, so a field is checked as the
plain method that it is; Strawberry's own are untyped under `--strict`. Resolvers return rows, `gives` names the type
that shows them.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from guards.permissions import Permission
from resolvers.context import Context
from schema import docs
from schema.access import Access, Guarded, Open, Seen, Watched, Ways
from schema.directives import PAGED, Cost

Info = strawberry.Info[Context, None]

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def requires(
    *permissions: Permission | tuple[Permission, ...], gives: Any = None, seen: Seen = Seen.BY_ONE, weight: int = 1
) -> Callable[[F], F]:
    """A root field for callers who hold one of the permissions, or all of those in a tuple.

    Args:
        seen: for whom its answer is the same.
        weight: what it costs, compared with reading an attribute.
    """
    return guarded(Guarded(_ways(permissions), seen=seen), gives=gives, weight=weight)


def watches(*permissions: Permission | tuple[Permission, ...], seen: Seen = Seen.BY_ONE) -> Callable[[F], F]:
    """A root field of changes for callers who hold one of the permissions, or all of those in a tuple."""
    return guarded(Watched(_ways(permissions), seen=seen))


def public(gives: Any = None) -> Callable[[F], F]:
    """A root field for everybody, signed in or not."""
    return guarded(Open(), gives=gives)


def guarded(access: Access, *, gives: Any = None, weight: int = 1) -> Callable[[F], F]:
    """A root field with an access of its own."""
    return _declared(gives, [access], weight)


def nested(gives: Any = None, *, weight: int = 1) -> Callable[[F], F]:
    """A field of a type that takes more than reading an attribute; its root field was guarded."""
    return _declared(gives, [], weight)


def _ways(permissions: tuple[Permission | tuple[Permission, ...], ...]) -> Ways:
    return tuple(way if isinstance(way, tuple) else (way,) for way in permissions)


def _declared(gives: Any, extensions: list[FieldExtension], weight: int) -> Callable[[F], F]:
    def decorated(function: F) -> F:
        directives: list[object] = [PAGED] if "first" in inspect.signature(function).parameters else []
        if weight != 1:
            directives.append(Cost(weight=weight))
        field: Any = strawberry.field(
            function,
            is_subscription=inspect.isasyncgenfunction(function),
            description=docs.summary(function),
            directives=directives,
            extensions=extensions,
            graphql_type=gives,
        )
        # A StrawberryField in place of the function: it is what the class decorator looks for.
        return field  # type: ignore[no-any-return]

    return decorated


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def described(kind: C) -> C:
    """An object type whose descriptions are its docstrings."""
    made = strawberry.type(kind, description=docs.summary(kind))
    _describe(made, kind)
    return made


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def asked(kind: C) -> C:
    """An input type whose descriptions are its docstrings."""
    made = strawberry.input(kind, description=docs.summary(kind))
    _describe(made, kind)
    return made


def shows(row: type) -> Callable[[C], C]:
    """An object type for rows of one kind: their attributes are its fields, their docstrings its descriptions."""

    @dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
    def decorated(kind: C) -> C:
        if kind.__bases__ != (object,):
            # Only who implements an interface is asked what it is.
            kind.is_type_of = staticmethod(lambda value, _info: isinstance(value, row))  # type: ignore[attr-defined]
        made = strawberry.type(kind, description=docs.summary(kind))
        _describe(made, kind, row)
        return made

    return decorated


def shown(row: object) -> Any:
    """A row, where the type checker expects the type that shows it."""
    return row


def fields_of(kind: type) -> list[StrawberryField]:
    """The fields of a Strawberry type."""
    definition: Any = kind.__strawberry_definition__  # type: ignore[attr-defined]
    found: list[StrawberryField] = definition.fields
    return found


def _describe(made: type, *sources: type) -> None:
    for source in sources:
        texts = docs.of_fields(source)
        for field in fields_of(made):
            if field.description is None:
                field.description = texts.get(field.python_name)
