"""What clients are told: codes, and nothing of our insides."""

import logging
from typing import Any

import pytest

from db.database import Database, DatabaseUnavailable
from db.models.identity import Role
from db.pages import BadCursor
from db.users import User
from guards.errors import RateLimited, family
from resolvers.context import Services
from schema.build import Schema, build
from schema.fields import described, public
from tests.uploading import context_of

People = dict[Role, User]
RAISED: dict[str, Exception] = {
    "limited": RateLimited("too often", retry_after=7),
    "cursor": BadCursor("the cursor is damaged"),
    "away": DatabaseUnavailable("postgres://agentos:secret@db did not answer"),
    "broken": ZeroDivisionError("secret dsn postgres://"),
}


@described
class Failing:
    """Fields that fail."""

    @public()
    async def fail(self, how: str) -> int | None:
        """Fail in a certain way."""
        raise RAISED[how]

    @public()
    def wide(self) -> int | None:
        """Give a number that an Int cannot show."""
        return 2**40

    @public()
    def nothing(self) -> int:
        """Give nothing where something was promised."""
        return None  # type: ignore[return-value]  # the fault that is tried


@pytest.fixture(scope="module")
def failing() -> Schema:
    """A schema whose fields fail."""
    return build(Failing, None, None)


async def told(schema: Schema, services: Services, document: str, **variables: Any) -> list[dict[str, Any]]:
    context = context_of(services, None)
    context.trace_id = "trace"
    answer = await schema.execute(document, variable_values=variables, context_value=context)
    return [{"message": error.message, **(error.extensions or {})} for error in answer.errors or []]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("limited", {"message": "too often", "code": "RATE_LIMITED", "traceId": "trace", "retryAfter": 7}),
        ("cursor", {"message": "the cursor is damaged", "code": "VALIDATION_ERROR", "traceId": "trace"}),
        (
            "away",
            {
                "message": "the database does not answer: try again",
                "code": "UNAVAILABLE",
                "traceId": "trace",
                "retryAfter": 1,
            },
        ),
    ],
)
async def test_what_was_foreseen_is_told(how: str, expected: Any, failing: Schema, services: Services) -> None:
    assert [expected] == await told(failing, services, "query($how: String!) { fail(how: $how) }", how=how)


@pytest.mark.parametrize("document", ['{ fail(how: "broken") }', "{ wide }", "{ nothing }"])
async def test_what_was_not_foreseen_is_logged_once_and_not_told(
    document: str, failing: Schema, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        [error] = await told(failing, services, document)

    assert {"code": "INTERNAL_ERROR", "traceId": "trace"} == {name: error[name] for name in ("code", "traceId")}
    assert "something went wrong on our side; quote the trace id when you ask" == error["message"]
    [record] = caplog.records
    assert ("ERROR", "trace") == (record.levelname, getattr(record, "trace_id", None))
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("document", "variables", "code"),
    [
        ("{", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ no }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("{ fail(how: 7) }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query($how: String!) { fail(how: $how) }", {}, "BAD_USER_INPUT"),
        ("query($how: String!) { fail(how: $how) }", {"how": 7}, "BAD_USER_INPUT"),
        ("query($how: String = null) { fail(how: $how) }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ('query($how: String = "x") { fail(how: $how) }', {"how": None}, "BAD_USER_INPUT"),
    ],
)
async def test_what_the_client_did_is_told_and_not_logged(
    document: str, variables: dict[str, Any], code: str, failing: Schema, services: Services, caplog: Any
) -> None:
    """Twice, because the second time what was found is taken from a cache."""
    with caplog.at_level(logging.INFO):
        first = await told(failing, services, document, **variables)
        second = await told(failing, services, document, **variables)

    assert [code] == [error["code"] for error in first]
    assert first == second
    assert [] == caplog.records


def test_every_refusal_has_a_code_of_its_own_kind() -> None:
    assert all(kind.code.isupper() for kind in family())


async def test_a_database_that_is_away_is_told_as_unavailable(services: Services, people: People) -> None:
    """Nothing waits, nothing crashes, nothing is told of where the database is."""
    away = Database.connect("postgresql+asyncpg://nobody:secret@127.0.0.1:1/nowhere")
    context = context_of(services, people[Role.ADMIN])
    object.__setattr__(services, "database", away)
    try:
        answer = await build().execute("{ jobs { totalCount } health { status } }", context_value=context)
    finally:
        await away.close()

    assert {"jobs": None, "health": {"status": "DOWN"}} == answer.data
    assert ["UNAVAILABLE"] == [(error.extensions or {})["code"] for error in answer.errors or []]
    assert "secret" not in str(answer.errors)
