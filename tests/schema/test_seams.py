"""The places inside Strawberry and graphql-core that this house leans on, and that no one has promised to keep.

When a release of theirs moves one, a test here says which, before something subtle breaks elsewhere.
"""

import inspect
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import strawberry
from graphql import GraphQLArgument, GraphQLEnumType, Undefined
from graphql.execution import Executor
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry.printer import print_schema
from strawberry.schema.base import BaseSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.execution import ExecutionContext
from strawberry.types.field import StrawberryField

from schema.fields import fields_of
from schema.types.jobs import Job


class Colour(StrEnum):
    """A colour."""

    RED = "red"


@strawberry.type
class Query:
    """A root."""

    plain: int = 1

    @strawberry.field
    def colour(self, wanted: Colour) -> str:
        """How a resolver gets an enum."""
        return type(wanted).__name__


def test_the_versions_that_the_seams_were_read_in() -> None:
    """Read the seams again before these numbers are raised."""
    assert ("0.341.2", "3.3.2") == (version("strawberry-graphql"), version("graphql-core"))


async def test_a_sorted_schema_still_hands_resolvers_bare_enum_values() -> None:
    """Why only the printed copy of the schema is sorted; when this fails, `sort_schema` may be used."""
    sorted_ = strawberry.Schema(Query, config=StrawberryConfig(sort_schema=True))
    unsorted = strawberry.Schema(Query)

    assert {"colour": "str"} == (await sorted_.execute("{ colour(wanted: RED) }")).data
    assert {"colour": "Colour"} == (await unsorted.execute("{ colour(wanted: RED) }")).data


def test_errors_pass_one_place_as_one_list() -> None:
    """`Schema.process_errors` is called with the very list that is answered, on every way through."""
    taken: list[Any] = []

    class Schema(strawberry.Schema):
        def process_errors(self, errors: Any, execution_context: Any = None) -> None:
            taken.append(errors)

    answer = Schema(Query).execute_sync("{ no }")

    assert answer.errors is taken[0]
    assert ["self", "errors", "execution_context"] == list(inspect.signature(BaseSchema.process_errors).parameters)


def test_an_extension_can_decide_before_validation_does() -> None:
    fields = ExecutionContext.__dataclass_fields__

    assert {"graphql_document", "validation_rules", "pre_execution_errors", "result", "parse_options"} <= set(fields)
    assert ExecutionContext(None, None, (), provided_operation_name="a")._provided_operation_name == "a"  # type: ignore[arg-type]  # only the name is looked at
    assert {"on_operation", "on_parse", "on_validate", "on_execute", "on_stream_result"} <= set(dir(SchemaExtension))


def test_each_event_gets_an_executor_of_its_own() -> None:
    assert ["self", "payload"] == list(inspect.signature(Executor.build_per_event_executor).parameters)
    assert issubclass(strawberry.Schema(Query).execution_context_class, Executor)


def test_a_field_extension_takes_part_where_a_schema_is_made_and_where_a_field_is_asked() -> None:
    assert ["self", "field"] == list(inspect.signature(FieldExtension.apply).parameters)
    for method in (FieldExtension.resolve, FieldExtension.resolve_async):
        assert ["self", "next_", "source", "info", "kwargs"] == list(inspect.signature(method).parameters)
    assert {"directives", "extensions", "description", "python_name"} <= set(vars(StrawberryField())) | {"python_name"}


def test_rows_are_read_by_plain_attributes() -> None:
    """A field without resolver and extension skips most of Strawberry; compiled reads depend on knowing which are."""
    basic = {field.python_name for field in fields_of(Job) if field.is_basic_field}

    assert {"id", "status", "progress", "created_at"} <= basic
    assert basic.isdisjoint({"steps", "clips", "owner", "source"})


def test_the_schema_beneath_can_be_reached_and_printed() -> None:
    schema = strawberry.Schema(Query)
    kind = schema._schema.type_map["Colour"]

    assert isinstance(kind, GraphQLEnumType)
    assert isinstance(kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF], StrawberryEnumDefinition)
    assert "enum Colour" in print_schema(schema)
    assert Undefined is GraphQLArgument(kind).default_value


def test_what_later_work_leans_on_is_there() -> None:
    schema = strawberry.Schema

    assert all(hasattr(schema, name) for name in ("_collect_graphql_directives", "get_fields", "get_extensions"))
