"""What an action's row says of its payload and its result is what the SDL says."""

from typing import Annotated, Any

import pytest
import strawberry
from graphql import GraphQLInputObjectType, build_schema
from msgspec import Meta
from strawberry.schema.config import StrawberryConfig

from db.rows import Row
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Big, Call, JobId, Payload, View, action
from resolvers.actions.reading import redacted
from schema.access import Acting
from schema.directives import Audited, Constraint, Idempotent, RateLimit, Requires
from schema.fields import fields_of
from schema.payloads import Types, plain
from schema.root import schema
from schema.scalars import SCALARS


class TriedInput(Payload, frozen=True, kw_only=True):
    """What is given."""

    job_id: JobId
    """Which job."""

    times: Annotated[int, Meta(ge=1, le=20)] = 3
    note: Annotated[str, Meta(max_length=9, pattern="^a")] | None = None


class Tried(Row, frozen=True):
    """What came of it."""

    size: Big
    texts: list[str]


@action("job.cancel", View.EXTRA, target="job_id")
async def tried(call: Call[Tried], asked: TriedInput) -> Tried:
    """Try it."""
    return Tried(1, [])


def test_constraints_are_told_as_they_are_checked() -> None:
    said = {
        field.python_name: [each for each in field.directives if isinstance(each, Constraint)]
        for field in fields_of(Types().input(tried))
    }

    assert {
        "job_id": [],
        "times": [Constraint(min=1, max=20)],
        "note": [Constraint(max_length=9, pattern="^a")],
    } == said


def test_types_follow_the_row() -> None:
    types = Types()

    @strawberry.type
    class Query:
        @strawberry.field
        def it(self, given: types.input(tried)) -> types.output(tried):  # type: ignore[valid-type]  # made at run time
            ...

    sdl = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS)).as_str()

    assert "  jobId: ID!\n" in sdl
    assert "  times: Int! = 3 @constraint(min: 1, max: 20)\n" in sdl
    assert "type JobCancelPayload" in sdl
    assert "  size: BigInt!\n" in sdl
    assert types.input(tried) is types.input(tried)


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.name)
def test_every_mutation_says_what_its_row_says(row: Any) -> None:
    said = Acting(row).directives()
    [requires] = [each for each in said if isinstance(each, Requires)]
    own, _ = [each for each in said if isinstance(each, RateLimit)]
    [audited] = [each for each in said if isinstance(each, Audited)]

    assert [[row.permission]] == requires.permissions
    assert (row.name, row.per_minute) == (own.bucket, own.limit)
    assert len(redacted(row.payload)) == len(audited.redact or ())
    assert 1 == len([each for each in said if isinstance(each, Idempotent)])


def test_what_was_not_given_is_not_there() -> None:
    kind: Any = Types().input(tried)

    assert {"job_id": "7", "times": 3} == plain(kind(job_id="7", note=None))


def test_the_printed_schema_can_be_read_back() -> None:
    read = build_schema(schema.as_str())

    chosen = read.type_map["AdminActionInput"]
    assert isinstance(chosen, GraphQLInputObjectType)
    assert len(CATALOGUE) == len(chosen.fields)
