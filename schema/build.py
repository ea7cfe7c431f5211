"""How the schema is put together: roots that say who may use them, limits, and errors that give nothing away."""

from copy import copy
from functools import cached_property
from typing import Any

from graphql import (
    GraphQLDirective,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    Undefined,
    lexicographic_sort_schema,
    parse,
    specified_rules,
)
from strawberry.extensions import ParserCache
from strawberry.printer import print_schema
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.execution import ExecutionContext

from schema import access, counts, docs
from schema.counts import Short
from schema.directives import IDEMPOTENT
from schema.errors import tell
from schema.limits import MOST_TOKENS, RULES, Limits, unclear
from schema.mutation import Mutation
from schema.plan import Plan
from schema.projections import Projections
from schema.query import Query
from schema.replayed import Replayed
from schema.scalars import SCALARS
from schema.subscription import Subscription
from schema.telling import PROJECTIONS, Executor, Telling
from schema.types.agents import Agent
from schema.types.jobs import Clip, Job, Upload
from schema.types.people import User
from schema.types.system import LogLine, SystemEvent, Worker
from schema.validations import Validations, findings


class Schema(Telling):
    """A schema whose errors say what a client may know, and whose SDL is sorted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._schema.extensions[PROJECTIONS] = Projections("Snapshot")
        for kind in self._schema.type_map.values():
            _forget_nulls(kind)
            _explain(kind)

    def plan(self, text: str, name: str | None = None) -> Plan:
        """The plan of an operation, without running it.

        Raises:
            GraphQLError: the document is wrong in itself, or does not tell which of its operations is meant.
        """
        counts.require_short(text)
        document = parse(text, max_tokens=MOST_TOKENS)
        for error in findings(self._schema, document, (*specified_rules, *RULES)):
            raise error
        if refused := unclear(document, name):
            raise refused
        return self._plans.of(text, document, name)

    def _collect_graphql_directives(self, *args: Any) -> tuple[GraphQLDirective, ...]:
        """GraphQL's own directives, and those that clients may put beside a field here."""
        # Strawberry's way to declare one would wrap every field of every answer.
        return (*super()._collect_graphql_directives(*args), IDEMPOTENT)

    def as_str(self) -> str:
        """The SDL, sorted by name; half a second of work, which is done once and only when somebody asks."""
        return self._printed

    @cached_property
    def _printed(self) -> str:
        # Strawberry's own `sort_schema` executes the sorted copy, whose enums hand resolvers bare values instead of
        # members. Here only the copy that is printed is sorted.
        shown = copy(self)
        shown._schema = lexicographic_sort_schema(self._schema)
        # The arguments of a directive stay in the order they are written down in.
        shown._schema.directives = tuple(sorted(self._schema.directives, key=lambda directive: directive.name))
        return print_schema(shown)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Put what a client may know in the place of what happened."""
        context = execution_context.context if execution_context else None
        tell(errors, getattr(context, "trace_id", None))


def build(query: type = Query, mutation: type | None = Mutation, subscription: type | None = Subscription) -> Schema:
    """A schema of these roots.

    Raises:
        UnguardedField: a root field does not say who may use it.
    """
    access.check(root for root in (query, mutation, subscription) if root is not None)
    return Schema(
        query=query,
        mutation=mutation,
        subscription=subscription,
        types=(Agent, Clip, Job, LogLine, SystemEvent, Upload, User, Worker),
        extensions=(Short, ParserCache, Validations().extension, Limits, Replayed),
        execution_context_class=Executor,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def _forget_nulls(kind: GraphQLNamedType) -> None:
    """Take back the defaults that say no more than that something may be left out."""
    if isinstance(kind, GraphQLInputObjectType):
        given: list[Any] = list(kind.fields.values())
    elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        given = [argument for field in kind.fields.values() for argument in field.args.values()]
    else:
        given = []
    for value in given:
        if value.default_value is None:
            value.default_value = Undefined


def _explain(kind: GraphQLNamedType) -> None:
    """Describe an enum by the docstrings of its class, which others declared without a thought of GraphQL."""
    definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if isinstance(kind, GraphQLEnumType) and isinstance(definition, StrawberryEnumDefinition):
        texts = docs.of_fields(definition.wrapped_cls)
        kind.description = kind.description or docs.summary(definition.wrapped_cls)
        for name, value in kind.values.items():
            value.description = value.description or texts.get(name)
