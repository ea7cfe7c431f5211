"""The admin snapshot as GraphQL shows it: one type for each struct of `dataloaders.snapshot`, field by field the same.

The types are made from the structs, so a section that is added there is shown here. Every field is a plain attribute
without a resolver: a snapshot is large, and read often.
"""

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import strawberry
from strawberry.scalars import JSON

from dataloaders import snapshot
from schema import docs
from schema.scalars import BigInt


class NotShowable(TypeError):
    """A struct of the snapshot has a field that GraphQL has no type for."""


class Mirrors:
    """The types made so far, by the struct that each shows."""

    def __init__(self) -> None:
        self.made: dict[type[msgspec.Struct], type] = {}

    def of(self, struct: type[msgspec.Struct]) -> type:
        """The type that shows a struct."""
        if struct not in self.made:
            self.made[struct] = self._mirror(struct)
        return self.made[struct]

    def _mirror(self, struct: type[msgspec.Struct]) -> type:
        hints, texts = get_type_hints(struct), docs.of_fields(struct)
        kind = types.new_class(
            self._name(struct),
            exec_body=lambda body: body.update(
                __module__=__name__,
                __annotations__={name: self._shown(name, hints[name]) for name in struct.__struct_fields__},
                **{name: strawberry.field(description=texts.get(name)) for name in struct.__struct_fields__},
            ),
        )
        return strawberry.type(kind, description=docs.summary(struct))

    def _name(self, struct: type[msgspec.Struct]) -> str:
        own = struct.__name__
        name = own if own.startswith("Snapshot") else f"Snapshot{own}"
        if any(made.__name__ == name for made in self.made.values()):
            name = f"Snapshot{struct.__module__.rpartition('.')[2].title().replace('_', '')}{own}"
        return name

    def _shown(self, name: str, hint: Any) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            [some] = [part for part in arguments if part is not type(None)]
            return self._shown(name, some) | None
        if origin is Literal:
            return str
        if origin is dict or origin is Mapping or hint is Any:
            return JSON
        if origin in (list, tuple, Sequence):
            return list[self._shown(name, arguments[0])]  # type: ignore[misc]  # a type made at run time
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.of(hint)
        if hint is int and "bytes" in name:
            return BigInt
        if hint is snapshot.TimeRange:
            return hint
        if isinstance(hint, type) and issubclass(hint, Enum) and hint.__module__.startswith(snapshot.__name__):
            return strawberry.enum(hint, name=f"Snapshot{hint.__name__}", description=docs.summary(hint))
        if isinstance(hint, type):
            return hint
        raise NotShowable(f"{name}: {hint} cannot be shown")


MIRRORS = Mirrors()
Snapshot = MIRRORS.of(snapshot.Snapshot)
SnapshotState = MIRRORS.of(snapshot.State)
