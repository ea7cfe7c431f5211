"""The snapshot's types against its structs, field by field."""

import msgspec
import pytest
from graphql import GraphQLObjectType, get_named_type

from dataloaders.snapshot import Snapshot
from schema.fields import fields_of
from schema.root import schema
from schema.scalars import BigInt
from schema.types.snapshot import MIRRORS, Mirrors, NotShowable


@pytest.mark.parametrize("struct", MIRRORS.made, ids=lambda struct: struct.__name__)
def test_a_type_has_just_the_fields_of_its_struct(struct: type[msgspec.Struct]) -> None:
    """And none has a resolver, so that a snapshot can be projected without GraphQL."""
    fields = fields_of(MIRRORS.made[struct])

    assert list(struct.__struct_fields__) == [field.python_name for field in fields]
    assert all(field.is_basic_field for field in fields)


def test_what_may_be_missing_can_be_null_and_nothing_else() -> None:
    kind = schema._schema.type_map["Snapshot"]
    assert isinstance(kind, GraphQLObjectType)

    assert "DateTime!" == str(kind.fields["timestamp"].type)
    assert "SnapshotDashboard" == str(kind.fields["dashboard"].type)
    assert "[SnapshotStale!]!" == str(kind.fields["stale"].type)


def test_every_section_is_shown() -> None:
    kind = schema._schema.type_map["Snapshot"]
    assert isinstance(kind, GraphQLObjectType)
    shown = {name for name, field in kind.fields.items() if isinstance(get_named_type(field.type), GraphQLObjectType)}

    assert {"dashboard", "queue", "analytics", "agentsWorkers", "logs", "systemControl", "configuration"} <= shown
    assert Snapshot in MIRRORS.made


def test_what_has_no_type_in_graphql_is_refused_by_name() -> None:
    class Odd(msgspec.Struct):
        """Odd."""

        strange: tuple[int, ...] | set[int] | None

    with pytest.raises((NotShowable, ValueError)):
        Mirrors().of(Odd)


def test_numbers_of_bytes_may_be_larger_than_an_int() -> None:
    class Disk(msgspec.Struct):
        """A disk."""

        free_bytes: int
        parts: int

    [free, parts] = fields_of(Mirrors().of(Disk))

    assert BigInt is free.type
    assert int is parts.type
