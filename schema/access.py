"""Who may use a root field: the directives that say so in the SDL, and the extension that sees to it.

Both come from the same object, so what a reader of the SDL is told is what happens. A root field that says nothing does
not get into a schema. No store is asked; a caller without a verified token has no permission at all.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

from guards.permissions import Permission
from resolvers.context import Context

Ways = tuple[tuple[Permission, ...], ...]
"""One of the outer, all of the inner."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION], name="public", description="Everybody may use it, signed in or not."
)
class Public:
    """`@public`"""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="requires",
    description="Only who holds all permissions of one of the lists may use it.",
)
class Requires:
    """`@requires(permissions: [[JOB_READ]])`"""

    permissions: list[list[Permission]]


class UnguardedField(TypeError):
    """A root field says neither who may use it nor that everybody may; the schema is not built."""


class Access(FieldExtension, ABC):
    """What a root field says of who may use it."""

    def __init__(self, directive: object) -> None:
        self.directive = directive

    def apply(self, field: StrawberryField) -> None:
        """Write the directive into the SDL."""
        if self.directive not in field.directives:
            field.directives.append(self.directive)

    @abstractmethod
    def admit(self, context: Context) -> None:
        """Let the caller pass, or say why not.

        Raises:
            Unauthenticated: nobody is signed in.
            Forbidden: the role does not grant what is needed, or not to this address.
        """

    def resolve(
        self, next_: Callable[..., Any], source: Any, info: strawberry.Info[Context, None], **arguments: Any
    ) -> Any:
        """Admit, then resolve."""
        self.admit(info.context)
        return next_(source, info, **arguments)

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info[Context, None], **arguments: Any
    ) -> Any:
        """Admit, then resolve; a subscription hands on its stream."""
        self.admit(info.context)
        answer = next_(source, info, **arguments)
        return await answer if inspect.isawaitable(answer) else answer


class Open(Access):
    """Everybody."""

    def __init__(self) -> None:
        super().__init__(Public())

    def admit(self, context: Context) -> None:
        """Let everybody pass."""


class Guarded(Access):
    """Callers with certain permissions."""

    def __init__(self, ways: Ways) -> None:
        if not ways or not all(ways):
            raise ValueError("name at least one permission, or say `public`")
        super().__init__(Requires(permissions=[list(way) for way in ways]))
        self.ways = ways

    def admit(self, context: Context) -> None:
        """Let pass who holds all permissions of one way, and calls from where they may be used."""
        if any(all(map(context.may, way)) for way in self.ways):
            return
        for permission in self.ways[0]:
            context.require(permission)


def check(roots: Iterable[type]) -> None:
    """Make sure that every root field says who may use it, and that saying so has an effect.

    Raises:
        UnguardedField: one does not, or says it twice.
    """
    for root in roots:
        definition: Any = root.__strawberry_definition__  # type: ignore[attr-defined]
        for field in definition.fields:
            said = [extension for extension in field.extensions if isinstance(extension, Access)]
            if len(said) != 1:
                raise UnguardedField(
                    f"{definition.name}.{field.python_name} must say who may use it: "
                    "declare it with @requires(Permission.…) or @public(), once"
                )


def public_names(schema: BaseSchema) -> frozenset[str]:
    """The root fields of queries and mutations that everybody may use, by their names in the SDL."""
    core: Any = schema._schema  # type: ignore[attr-defined]
    roots = (root for root in (core.query_type, core.mutation_type) if root is not None)
    return frozenset(
        name
        for root in roots
        for name, field in root.fields.items()
        if Public() in field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].directives
    )
