"""An operation is explained by what would really happen to it, and nothing happens."""

from typing import Any

import pytest
import sqlalchemy as sa

from db.models.identity import Role
from resolvers.context import Services
from schema.root import schema
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.uploading import context_of

EXPLAIN = """
query ($text: String!, $name: String, $variables: JSON) {
  explainOperation(document: $text, operationName: $name, variables: $variables) {
    errors kind depth cost allowed missing cacheable shareable
    fields { place field action permissions allowed missing refusal }
    limits { name limit units remaining enough }
  }
}
"""
PAUSES = "mutation { queuePause { paused } a: adminAction(input: {queueResume: {}}) { action } }"


async def explained(ask: Ask, role: Role, people: People, document: str, **given: Any) -> dict[str, Any]:
    answer = await ask(people[role], EXPLAIN, text=document, **given)
    assert answer.errors is None
    assert answer.data is not None
    found: dict[str, Any] = answer.data["explainOperation"]
    return found


async def test_what_would_be_refused_is_said_with_what_is_missing(ask: Ask, people: People, services: Services) -> None:
    told = await explained(ask, Role.SUPERVISOR, people, PAUSES)

    assert ("mutation", False, ["QUEUE_PAUSE", "QUEUE_RESUME"]) == (told["kind"], told["allowed"], told["missing"])
    assert [("queuePause", "queue.pause"), ("a/queue.resume", "queue.resume")] == [
        (field["place"], field["action"]) for field in told["fields"]
    ]
    assert "the role supervisor may not queue.pause" == told["fields"][0]["refusal"]
    assert [] == told["limits"]
    async with services.database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM audit"))


async def test_what_would_be_done_is_said_with_what_it_takes(ask: Ask, people: People, services: Services) -> None:
    await schema.execute("mutation { queueResume { paused } }", context_value=context_of(services, people[Role.ADMIN]))
    told = await explained(ask, Role.ADMIN, people, PAUSES)

    assert (True, [], None) == (told["allowed"], told["missing"], told["fields"][0]["refusal"])
    assert [
        ("queue.pause", 50, 1, 50, True),
        ("admin-action", 50, 2, 49, True),
        ("queue.resume", 50, 1, 49, True),
    ] == [tuple(each.values()) for each in told["limits"] if "burst" not in each["name"]]
    async with services.database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM queue_states WHERE paused"))


@pytest.mark.parametrize(
    ("document", "cacheable", "shareable"),
    [
        ("{ snapshot { status } }", True, True),
        ("{ snapshot { status } me { id } }", False, False),
        ("{ __typename }", False, False),
        ("subscription { snapshotChanged { __typename } }", False, True),
        ("subscription { queueChanged { __typename } }", False, True),
        ("subscription { jobChanged { __typename } }", False, True),
        ("subscription { operationChanged { __typename } }", False, False),
    ],
)
async def test_what_may_be_kept_or_shared_is_said(
    document: str, cacheable: bool, shareable: bool, ask: Ask, people: People
) -> None:
    told = await explained(ask, Role.ADMIN, people, document)

    assert (cacheable, shareable) == (told["cacheable"], told["shareable"])


async def test_the_size_is_that_of_the_variables(ask: Ask, people: People) -> None:
    document = "query a($n: Int = 3) { jobs(first: $n) { edges { node { id } } } } query b { me { id } }"

    assert [(8, 4), (202, 4), (2, 2)] == [
        (told["cost"], told["depth"])
        for told in (
            await explained(ask, Role.USER, people, document, name="a"),
            await explained(ask, Role.USER, people, document, name="a", variables={"n": 100}),
            await explained(ask, Role.USER, people, document, name="b"),
        )
    ]


@pytest.mark.parametrize(
    ("document", "given", "error"),
    [
        ("{", {}, "Syntax Error: Expected Name, found <EOF>."),
        ("{ me { nothing } }", {}, "Cannot query field 'nothing' on type 'User'."),
        (
            "query a { me { id } } query b { me { id } }",
            {},
            "the document has 2 operations: say which one by operationName",
        ),
        ("{ me { id } }", {"name": "b"}, "the document has no operation b"),
        ("fragment a on User { id }", {}, "Fragment 'a' is never used."),
        ("{ " * 13 + "}" * 13, {}, "Syntax Error: Expected Name, found '{'."),
        ("x" * 70_000, {}, "the document is longer than 65536 characters: put what is long into variables"),
        (
            "mutation ($i: AdminActionInput!) { adminAction(input: $i) { action } }",
            {},
            "action: choose exactly one",
        ),
    ],
)
async def test_what_would_not_even_be_tried_is_said(
    document: str, given: dict[str, Any], error: str, ask: Ask, people: People
) -> None:
    told = await explained(ask, Role.ADMIN, people, document, **given)

    assert ([error], None, None) == (told["errors"], told["kind"], told["cost"])


async def test_few_operations_are_explained_at_once(ask: Ask, people: People) -> None:
    """Each is a document that nobody has validated yet."""
    many = " ".join(f'a{n}: explainOperation(document: "{{ me {{ id }} }}") {{ cost }}' for n in range(5))

    answer = await ask(people[Role.USER], f"{{ {many} }}")

    assert ["GRAPHQL_VALIDATION_FAILED"] == [(error.extensions or {})["code"] for error in answer.errors or ()]
