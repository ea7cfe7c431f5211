"""How the schema is put together: roots that say who may use them, limits, and errors that give nothing away."""

import asyncio
import contextlib
import inspect
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from copy import copy
from functools import cached_property
from typing import Any, Final

import msgspec
import strawberry
from graphql import ExecutionResult as CoreResult
from graphql import (
    GraphQLDirective,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    Undefined,
    create_source_event_stream,
    lexicographic_sort_schema,
    parse,
    specified_rules,
)
from graphql.execution import Executor as CoreExecutor
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path
from strawberry.extensions import ParserCache
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.printer import print_schema
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES, StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from db.database import DatabaseUnavailable
from db.events import Cursor
from db.tasks import pause_s
from guards.errors import Refusal, Unavailable
from resolvers.context import Context
from schema import access, counts, docs
from schema.access import Seen
from schema.counts import Short
from schema.directives import IDEMPOTENT
from schema.errors import cause_of, tell, told
from schema.limits import MOST_TOKENS, RULES, Limits, unclear
from schema.mutation import Mutation
from schema.plan import Plan, Plans, admit
from schema.projections import Projections
from schema.query import Query
from schema.replayed import Replayed
from schema.scalars import SCALARS
from schema.subscription import Subscription
from schema.types.agents import Agent
from schema.types.jobs import Clip, Job, Upload
from schema.types.people import User
from schema.types.system import LogLine, SystemEvent, Worker
from schema.validations import Validations, findings
from schema.watching import Asked, Audience, Placed, Told, Watching

PROJECTIONS: Final = "projections"
"""Where a schema keeps what it worked out, for its executors to find."""

TRIES: Final = 3
"""How often an event is read while the database does not answer."""


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Runs an operation; each event of a subscription with loaders of its own."""

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: list[FieldDetails],
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """An object's answer, in one go where it is plain all the way down."""
        projections: Projections = self.schema.extensions[PROJECTIONS]
        read = projections.of(self, return_type, field_details_list)
        if read is not None:
            with contextlib.suppress(GraphQLError):
                return read(result)
            # Some value is not what its type says; field by field, the answer names which.
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def build_per_event_executor(self, payload: Any) -> Any:
        """An executor for one event."""
        executor = super().build_per_event_executor(payload)
        executor.context_value = self.context_value.afresh()
        return executor


class Schema(strawberry.Schema):
    """A schema whose errors say what a client may know, and whose SDL is sorted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans = Plans(self._schema)
        self.watching = Watching()
        self._schema.extensions[PROJECTIONS] = Projections("Snapshot")
        for kind in self._schema.type_map.values():
            _forget_nulls(kind)
            _explain(kind)

    async def _prepare_operation_async(
        self, context: ExecutionContext, extensions_runner: SchemaExtensionsRunner
    ) -> PreExecutionError | None:
        """Parse and validate; what the parser's cache raises is an answer here, also on the way to a stream."""
        try:
            refused = await super()._prepare_operation_async(context, extensions_runner)
            if refused is None:
                await self._admit(context)
        except GraphQLError as error:
            context.pre_execution_errors = [error]
            refused = PreExecutionError(data=None, errors=[error])
        return refused

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

    async def told(
        self,
        query: str,
        *,
        context: Context,
        variables: dict[str, Any] | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Told, None]:
        """Run an operation of any kind: one answer of a query or mutation, one for each event of a subscription.

        Raises:
            Refusal: a subscription cannot go on: its reader is too slow, or this process is going down.
        """
        execution = self._create_execution_context(
            query, DEFAULT_ALLOWED_OPERATION_TYPES, variables, context, None, operation_name, operation_extensions
        )
        extensions = self.get_extensions()
        for extension in extensions:
            extension.execution_context = execution
        runner = self.create_extensions_runner(execution, extensions)
        async with runner.operation():
            try:
                refused = await self._prepare_operation_async(execution, runner)
            except CannotGetOperationTypeError as error:
                refused = PreExecutionError(data=None, errors=[GraphQLError(error.as_http_error_reason())])
            if refused is not None:
                yield self._encoded(await self._handle_execution_result(execution, refused, runner), began=False)
            elif execution.operation_type is OperationType.SUBSCRIPTION:
                async with aclosing(self._watched(execution)) as answers:
                    async for answer in answers:
                        yield answer
            else:
                middleware = self._get_middleware_manager(extensions)
                results = self._stream_non_subscription(execution, runner, middleware, operation_extensions)
                async with aclosing(results):
                    async for result in results:
                        assert isinstance(result, ExecutionResult)
                        yield self._encoded(result, began=not _before_all(result))

    async def _watched(self, execution: ExecutionContext) -> AsyncGenerator[Told, None]:
        """The answers of a subscription that has been let pass."""
        assert execution.graphql_document is not None
        context: Context = execution.context
        executor = Executor.build(
            self._schema,
            execution.graphql_document,
            context_value=context,
            raw_variable_values=execution.variables,
            operation_name=execution.operation_name,
        )
        if isinstance(executor, list):
            yield self._failed(executor, context)
            return
        began_with = create_source_event_stream(executor)
        source: Any = await began_with if inspect.isawaitable(began_with) else began_with
        if isinstance(source, CoreResult):
            yield self._failed(source.errors or [], context)
            return
        asked = self._asked(execution)
        began = False
        with self.watching.audience(asked) as audience:
            try:
                async with aclosing(source):
                    async for payload in source:
                        began = True
                        yield await self._answer(executor, payload, asked, audience, context)
            except Exception as error:
                if began:
                    raise
                # The stream's own word that there is nothing to watch.
                located = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
                yield self._failed([located], context)

    def _asked(self, execution: ExecutionContext) -> Asked:
        assert execution.query is not None
        assert execution.graphql_document is not None
        plan = self._plans.of(execution.query, execution.graphql_document, execution._provided_operation_name)
        variables = {name: value for name, value in (execution.variables or {}).items() if name not in plan.resuming}
        own = any(root.access is None or root.access.seen is Seen.BY_ONE for root in plan.roots)
        context: Context = execution.context
        return Asked(
            id(context.services.hub),
            execution.query,
            execution._provided_operation_name,
            msgspec.json.encode(variables, order="deterministic"),
            context.scope_of(own=own),
        )

    async def _answer(
        self, executor: CoreExecutor[Any], payload: object, asked: Asked, audience: Audience, context: Context
    ) -> Told:
        if not isinstance(payload, Placed):
            return await self._executed(executor, payload, context.afresh())
        if not payload.shared:
            return await self._executed(executor, payload, context.afresh(), payload.place)
        return await audience.told(
            payload.place,
            lambda: self._executed(executor, payload, Context.of_scope(context.services, asked.scope), payload.place),
        )

    async def _executed(
        self, executor: CoreExecutor[Any], payload: object, context: Context, cursor: Cursor | None = None
    ) -> Told:
        """What an event shows, once it can be read.

        Raises:
            Unavailable: the database does not answer for too long.
        """
        failures = 0
        while True:
            one = executor.build_per_event_executor(payload)
            one.context_value = context
            executed = one.execute_operation(False)
            result = await executed if inspect.isawaitable(executed) else executed
            assert isinstance(result, CoreResult)
            causes = [cause_of(error) for error in result.errors or ()]
            away = next((cause for cause in causes if isinstance(cause, DatabaseUnavailable)), None)
            if away is None:
                return self._encoded(result, cursor=cursor, trace_id=context.trace_id)
            failures += 1
            # Told with a hole in it, the change would be over for its clients, who go on after its cursor.
            if failures == TRIES:
                raise Unavailable("changes cannot be read just now", retry_after=1) from away
            await asyncio.sleep(pause_s(failures, random.random()))
            context = context.afresh()

    def _failed(self, errors: list[GraphQLError], context: Context) -> Told:
        return self._encoded(CoreResult(None, errors), began=False, trace_id=context.trace_id)

    def _encoded(
        self,
        result: CoreResult | ExecutionResult,
        *,
        began: bool = True,
        cursor: Cursor | None = None,
        trace_id: str | None = None,
    ) -> Told:
        errors = [told(error, trace_id).formatted for error in result.errors or ()]
        body: dict[str, Any] = {"errors": errors} if errors else {}
        if began:
            body["data"] = result.data
        placed = {} if cursor is None else {"cursor": str(cursor)}
        if extensions := {**(result.extensions or {}), **placed}:
            body["extensions"] = extensions
        return Told(msgspec.json.encode(body), cursor=cursor, began=began, ok=not errors)

    async def _admit(self, context: ExecutionContext) -> None:
        """Have the plan of the operation let it pass."""
        assert context.query is not None
        assert context.graphql_document is not None
        plan = self._plans.of(context.query, context.graphql_document, context._provided_operation_name)
        try:
            await admit(plan, context.context, context.variables or {})
        except Refusal as refusal:
            raise GraphQLError(str(refusal), original_error=refusal) from refusal

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


def _before_all(result: ExecutionResult) -> bool:
    """Whether a result says no more than that nothing was begun: its errors name no field."""
    errors = result.errors or ()
    return result.data is None and bool(errors) and all(error.path is None for error in errors)


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
