"""How an operation is run for whoever waits for its answers: let pass by its plan, and told as bytes.

A subscription's events are executed once for all who ask the same (`schema.watching`). PostgreSQL away while an event
is read: it is read again, and who watches is let go in the end, for nobody would ever be told what was left out.
"""

import asyncio
import contextlib
import inspect
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
import strawberry
from graphql import ExecutionResult as CoreResult
from graphql import GraphQLError, GraphQLObjectType, GraphQLResolveInfo, create_source_event_stream
from graphql.execution import Executor as CoreExecutor
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES, StrawberryGraphQLCoreExecutionContext
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from db.database import DatabaseUnavailable
from db.events import Cursor
from db.tasks import pause_s
from guards.errors import Refusal, Unavailable
from resolvers.context import Context
from resolvers.live import Hub, SlowConsumer
from schema.access import Seen
from schema.errors import cause_of, told
from schema.plan import Plans, admit
from schema.projections import Projections
from schema.watching import Asked, Audience, Placed, Told, Watching

PROJECTIONS: Final = "projections"
"""Where a schema keeps what it worked out, for its executors to find."""

TRIES: Final = 3
"""How often an event is read while the database does not answer."""


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Runs an operation; what is plain all the way down in one go."""

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


class Telling(strawberry.Schema):
    """A schema that lets operations pass by their plans, and tells their answers one by one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watching: WeakKeyDictionary[Hub, Watching] = WeakKeyDictionary()
        self._plans = Plans(self._schema)

    def watching(self, hub: Hub) -> Watching:
        """The audiences of those who listen to a hub; there is one in a process, and several where tests run."""
        return self._watching.setdefault(hub, Watching())

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
            Refusal: a subscription cannot begin or go on just now: its reader is too slow, or this process goes down.
            DatabaseUnavailable: it cannot because the database does not answer.
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
        began, since = False, 0.0
        watching = self.watching(context.services.hub)
        with watching.audience(self._asked(execution), context.caller.user_id) as audience:
            try:
                async with aclosing(source):
                    async for payload in source:
                        began = True
                        answer = await self._answer(executor, payload, audience, context, since)
                        since = answer.at
                        yield answer
            except (SlowConsumer, Unavailable, DatabaseUnavailable):
                # It was there to be watched, and is to be watched again.
                raise
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
            execution.query,
            execution._provided_operation_name,
            msgspec.json.encode(variables, order="deterministic"),
            context.scope_of(own=own),
        )

    async def _answer(
        self, executor: CoreExecutor[Any], payload: object, audience: Audience, context: Context, since: float
    ) -> Told:
        if not isinstance(payload, Placed):
            return await self._executed(executor, payload, context.afresh())
        if not payload.shared:
            return await self._executed(executor, payload, context.afresh(), payload.place)
        scope = audience.asked.scope
        return await audience.told(
            payload.place,
            lambda: self._executed(executor, payload, Context.of_scope(context.services, scope), payload.place),
            since=since,
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

    async def _admit(self, context: ExecutionContext) -> None:
        """Have the plan of the operation let it pass."""
        assert context.query is not None
        assert context.graphql_document is not None
        plan = self._plans.of(context.query, context.graphql_document, context._provided_operation_name)
        try:
            await admit(plan, context.context, context.variables or {})
        except Refusal as refusal:
            raise GraphQLError(str(refusal), original_error=refusal) from refusal


def _before_all(result: ExecutionResult) -> bool:
    """Whether a result says no more than that nothing was begun: its errors name no field."""
    errors = result.errors or ()
    return result.data is None and bool(errors) and all(error.path is None for error in errors)
