"""What a client is told when something goes wrong: a stable code, and nothing about our insides.

Every error of every operation passes here once, on its way into the answer. What the client did is told in full and not
logged, so nobody floods the log from outside; what we did is logged once, with its stack, under the trace id that the
client is told.
"""

import logging
from typing import Any, Final

from graphql import GraphQLError, GraphQLSyntaxError

from db.database import DatabaseUnavailable
from db.pages import BadCursor
from guards.errors import BadInput, RateLimited, Refusal, unanswered

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT: Final = "BAD_USER_INPUT"
INTERNAL: Final = "INTERNAL_ERROR"

log = logging.getLogger(__name__)


def tell(errors: list[GraphQLError], trace_id: str | None) -> None:
    """Replace the errors of an answer by what the client may know of them."""
    errors[:] = [told(error, trace_id) for error in errors]


def told(error: GraphQLError, trace_id: str | None) -> GraphQLError:
    """The same error as the client is to see it; one that has a code already stays as it is."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = cause_of(error)
    if isinstance(cause, Refusal):
        policy = cause.policy if isinstance(cause, RateLimited) else None
        return _with(error, str(cause), cause.code, trace_id, cause.retry_after, policy)
    if isinstance(cause, BadCursor):
        return _with(error, str(cause), BadInput.code, trace_id)
    if isinstance(cause, DatabaseUnavailable):
        log.warning("the database did not do what was asked: %s", cause, extra={"trace_id": trace_id})
        away = unanswered(cause)
        return _with(error, str(away), away.code, trace_id, away.retry_after)
    if isinstance(cause, GraphQLSyntaxError):
        return _with(error, error.message, PARSE_FAILED, None)
    if _of_the_client(error, cause):
        return _with(error, error.message, BAD_USER_INPUT, None)
    log.error("a field failed: %s", error.path, exc_info=cause, extra={"trace_id": trace_id})
    return _with(error, "something went wrong on our side; quote the trace id when you ask", INTERNAL, trace_id)


def told_of(cause: Refusal | DatabaseUnavailable, trace_id: str | None) -> dict[str, Any]:
    """What keeps an operation from going on, from outside of it, as the error that its client is told."""
    return dict(told(GraphQLError(str(cause), original_error=cause), trace_id).formatted)


def cause_of(error: GraphQLError) -> Exception:
    """What was raised in the first place, under however many layers of GraphQL."""
    cause: Exception = error
    while isinstance(cause, GraphQLError) and isinstance(cause.original_error, Exception):
        cause = cause.original_error
    return cause


def _of_the_client(error: GraphQLError, cause: Exception) -> bool:
    # What GraphQL finds wrong with a request names the place in the document, or comes before any field was reached. A
    # value of ours that a scalar cannot show names neither: that is our fault, and its message would show the value.
    return isinstance(cause, GraphQLError) and (error.path is None or (cause is not error and cause.nodes is not None))


def _with(
    error: GraphQLError,
    message: str,
    code: str,
    trace_id: str | None,
    retry_after: int | None = None,
    policy: str | None = None,
) -> GraphQLError:
    extensions: dict[str, Any] = {"code": code}
    if trace_id is not None:
        extensions["traceId"] = trace_id
    if retry_after is not None:
        extensions["retryAfter"] = retry_after
    if policy is not None:
        extensions["policy"] = policy
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
