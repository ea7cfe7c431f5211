"""A projected snapshot is the one that is read field by field, for whatever is asked of it."""

import random
from typing import Any

import pytest
from graphql import GraphQLObjectType, GraphQLOutputType, build_schema, get_named_type

from db import jobs
from db.database import Database
from db.jobs import NewJob
from db.models.identity import Role
from db.users import User
from schema.projections import Projections
from schema.root import schema
from tests.conftest import People
from tests.schema.conftest import Ask

ORDINARY = " @include(if: true)"
"""A directive makes the executor read field by field, and changes nothing else."""


def chosen(output: GraphQLOutputType, chance: random.Random) -> str:
    """Some of the fields below a type, a few under other names (a document may have thirty); never none."""
    kind = get_named_type(output)
    if not isinstance(kind, GraphQLObjectType):
        return ""
    names = [name for name in kind.fields if chance.random() < 0.7] or [next(iter(kind.fields))]
    parts = [
        (f"other{name}: {name}" if chance.random() < 0.04 else name) + chosen(kind.fields[name].type, chance)
        for name in names
    ]
    if chance.random() < 0.5:
        parts.insert(chance.randrange(len(parts) + 1), "__typename")
    return "{" + " ".join(parts) + "}"


async def data_of(ask: Ask, user: User, document: str, **variables: object) -> dict[str, Any]:
    """The snapshot in an answer that must have no errors."""
    answer = await ask(user, document, **variables)
    assert answer.errors is None
    assert answer.data is not None
    found: dict[str, Any] = answer.data["snapshot"]
    return found


async def both_ways(ask: Ask, user: User, fields: str, rest: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """One version of the snapshot, projected and read field by field."""
    fields = fields.replace("{", "{ sameVersion: envelope { version } ", 1)
    for _ in range(5):
        projected = await data_of(ask, user, f"{{ snapshot {fields} }} {rest}")
        read = await data_of(ask, user, f"{{ snapshot{ORDINARY} {fields} }} {rest}")
        if projected["sameVersion"] == read["sameVersion"]:
            return projected, read
    raise AssertionError("the snapshot was rebuilt between any two questions")


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_projected_is_what_would_be_read_field_by_field(
    seed: int, ask: Ask, database: Database, people: People
) -> None:
    async with database.transaction("default") as tx:
        for title in ("one", "two"):
            await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v", title=title, chain=["clipper"]))
    shown = build_schema(schema.as_str()).query_type
    assert shown is not None
    fields = chosen(shown.fields["snapshot"].type, random.Random(seed))

    projected, read = await both_ways(ask, people[Role.ADMIN], fields)

    assert read == projected
    assert list(read) == list(projected)


async def test_fragments_are_followed(ask: Ask, people: People) -> None:
    projected, read = await both_ways(
        ask,
        people[Role.ADMIN],
        "{ dashboard { ...Parts ... on SnapshotDashboard { status } } }",
        "fragment Parts on SnapshotDashboard { jobs { totalJobs } }",
    )

    assert {"jobs", "status"} == projected["dashboard"].keys()
    assert read == projected


async def test_variables_in_directives_are_obeyed_each_time(ask: Ask, people: People) -> None:
    document = "query ($deep: Boolean!) { snapshot { timestamp dashboard @include(if: $deep) { status } } }"

    with_it = await data_of(ask, people[Role.ADMIN], document, deep=True)
    without = await data_of(ask, people[Role.ADMIN], document, deep=False)

    assert {"timestamp", "dashboard"} == with_it.keys()
    assert {"timestamp"} == without.keys()


async def test_a_projection_passes_no_guard_by(ask: Ask, people: People) -> None:
    document = "{ snapshot { timestamp } }"
    await ask(people[Role.ADMIN], document)

    refused = await ask(people[Role.USER], document)

    assert {"snapshot": None} == refused.data
    assert ["FORBIDDEN"] == [(error.extensions or {})["code"] for error in refused.errors or ()]


async def test_plans_are_forgotten_before_they_fill_the_memory(ask: Ask, people: People) -> None:
    projections: Projections = schema._schema.extensions["projections"]

    for number in range(260):
        await ask(people[Role.ADMIN], f"{{ snapshot {{ n{number}: timestamp }} }}")

    assert len(projections._plans) <= 256
