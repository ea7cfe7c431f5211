"""What callers are told of actions, of their limits, and of operations on their way."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from db import operations
from db.models.identity import Role
from db.users import User
from guards.permissions import granted
from resolvers.actions.catalogue import CATALOGUE
from resolvers.context import Services
from resolvers.queries.actions import payload_schema
from schema.root import schema
from tests.conftest import People
from tests.resolvers.hubs import reading
from tests.schema.conftest import Ask
from tests.uploading import context_of
from tests.waiting import eventually

CATALOGUE_OF = """{ actionCatalogue {
  name field view permission allowed limit remaining idempotency destructive long dependsOn target description payload
} }"""
LIMITS = "{ rateLimit { limit cost remaining resetAt degraded policies { name limit windowS remaining } } }"


async def data(ask: Ask, user: User, document: str, **variables: object) -> Any:
    """What an operation answers that must have no errors."""
    answer = await ask(user, document, **variables)
    assert answer.errors is None
    return answer.data


@pytest.mark.parametrize("role", Role)
async def test_everybody_is_told_of_every_action_and_which_of_them_they_may(
    role: Role, ask: Ask, people: People
) -> None:
    told = (await data(ask, people[role], CATALOGUE_OF))["actionCatalogue"]

    assert set(CATALOGUE) == {each["name"] for each in told}
    allowed = {each["name"] for each in told if each["allowed"]}
    assert {name for name, action in CATALOGUE.items() if action.permission in granted(role)} == allowed
    assert allowed == {each["name"] for each in told if each["remaining"] is not None}


async def test_who_calls_from_elsewhere_is_told_what_they_may_from_there(services: Services, people: People) -> None:
    context = context_of(services, people[Role.ADMIN])
    context.address = "203.0.113.9"
    answer = await schema.execute("{ actionCatalogue { name allowed } }", context_value=context)

    told = {each["name"]: each["allowed"] for each in (answer.data or {})["actionCatalogue"]}
    assert (True, False) == (told["job.cancel"], told["queue.pause"])


async def test_what_is_left_of_an_action_goes_down_with_its_use(ask: Ask, people: People) -> None:
    admin = people[Role.ADMIN]
    await data(ask, admin, "mutation { a: queueResume { paused } b: queueResume { paused } }")

    told = {each["name"]: each for each in (await data(ask, admin, CATALOGUE_OF))["actionCatalogue"]}

    assert (50, 48) == (told["queue.resume"]["limit"], told["queue.resume"]["remaining"])
    assert (50, 50) == (told["job.cancel"]["limit"], told["job.cancel"]["remaining"])


async def test_a_form_can_be_made_of_what_is_told(ask: Ask, people: People) -> None:
    told = {each["name"]: each for each in (await data(ask, people[Role.ADMIN], CATALOGUE_OF))["actionCatalogue"]}

    pause = told["queue.pause"]
    assert ("queuePause", "JOBS_QUEUE", "QUEUE_PAUSE", "SUPPORTED", False, None) == (
        pause["field"],
        pause["view"],
        pause["permission"],
        pause["idempotency"],
        pause["long"],
        pause["target"],
    )
    assert {"duration_minutes", "reason"} == set(pause["payload"]["properties"])
    assert {"type": "integer", "minimum": 1, "maximum": 1440} in pause["payload"]["properties"]["duration_minutes"][
        "anyOf"
    ]
    assert ["job_id"] == told["job.cancel"]["payload"]["required"]


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=lambda action: action.name)
def test_every_payload_can_be_told_as_json_schema(action: Any) -> None:
    told = payload_schema(action.payload)

    assert "object" == told["type"]
    assert {field.encode_name for field in msgspec.structs.fields(action.payload)} == set(told["properties"])


async def test_limits_are_told_as_they_are_counted(ask: Ask, people: People) -> None:
    admin = people[Role.ADMIN]
    await data(ask, admin, "{ me { id } }")
    await data(ask, admin, "{ workers { totalCount } }")
    began = datetime.now(UTC)

    told = (await data(ask, admin, LIMITS))["rateLimit"]

    assert (100, 98, False) == (told["limit"], told["remaining"], told["degraded"])
    assert began < datetime.fromisoformat(told["resetAt"]) <= began + timedelta(seconds=61)
    assert [
        ("user", 100, 60, 98),
        ("watch", 600, 60, 600),
        ("admin-read", 500, 60, 499),
        ("admin-action", 50, 60, 50),
    ] == [tuple(each.values()) for each in told["policies"] if not each["name"].endswith("burst")]
    # The field itself, what is read of it, and ten policies with what is read of them.
    assert 1 + 6 + 10 * 4 == told["cost"]


async def test_who_has_no_administrators_limits_is_told_of_none(ask: Ask, people: People) -> None:
    told = (await data(ask, people[Role.USER], LIMITS))["rateLimit"]

    assert {"user", "user-burst", "watch", "watch-burst"} == {each["name"] for each in told["policies"]}


async def begun(services: Services, user: User) -> UUID:
    """An operation that is done."""
    async with services.database.transaction(user.tenant_id) as tx:
        operation = await operations.add(tx, "database.create_backup", actor=user.id, trace_id="t" * 32)
        await operations.finish(tx, operation.id, {"path": "a"})
    return operation.id


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        (Role.ADMIN, {"ADMIN": {"path": "a"}, "USER": {"path": "a"}}),
        (Role.READONLY, {"ADMIN": None, "USER": None}),
        (Role.USER, {"USER": {"path": "a"}}),
    ],
)
async def test_an_operation_is_seen_by_who_asked_and_without_its_answer_by_who_looks_after_all(
    role: Role, seen: dict[str, Any], ask: Ask, people: People, services: Services
) -> None:
    ids = {"ADMIN": await begun(services, people[Role.ADMIN]), "USER": await begun(services, people[Role.USER])}
    listed = (await data(ask, people[role], "{ operations { totalCount edges { node { id result } } } }"))["operations"]
    single = "query ($id: ID!) { operation(id: $id) { state result } }"
    one = {whose: (await data(ask, people[role], single, id=str(key)))["operation"] for whose, key in ids.items()}

    assert seen == {whose: told["result"] for whose, told in one.items() if told}
    assert {str(ids[whose]): result for whose, result in seen.items()} == {
        edge["node"]["id"]: edge["node"]["result"] for edge in listed["edges"]
    }
    assert len(seen) == listed["totalCount"]


async def test_operations_of_other_tenants_are_not_there(
    ask: Ask, people: People, other_people: People, services: Services
) -> None:
    key = await begun(services, other_people[Role.ADMIN])

    told = await data(ask, people[Role.ADMIN], f'{{ operation(id: "{key}") {{ id }} operations {{ totalCount }} }}')

    assert {"operation": None, "operations": {"totalCount": 0}} == told


async def test_operations_are_narrowed_by_what_they_do_and_how_they_stand(
    ask: Ask, people: People, services: Services
) -> None:
    await begun(services, people[Role.ADMIN])
    document = "query ($f: OperationFilter) { operations(filter: $f) { totalCount } }"
    counts = [
        (await data(ask, people[Role.ADMIN], document, f=wanted))["operations"]["totalCount"]
        for wanted in ({"states": ["DONE"]}, {"states": ["RUNNING"]}, {"actions": ["job.cancel"]})
    ]

    assert [1, 0, 0] == counts


async def test_who_asked_for_an_operation_hears_of_it(services: Services, people: People) -> None:
    user, other = people[Role.USER], people[Role.ADMIN]
    stream: Any = await schema.stream(
        "subscription { operationChanged { ... on OperationChange { operation { state action } } } }",
        context_value=context_of(services, user),
    )
    async with reading(services.hub), aclosing(stream):
        heard = asyncio.ensure_future(anext(stream))

        async def listening() -> int:
            return services.hub.listeners

        await eventually(listening, bool)
        await begun(services, other)
        await begun(services, user)
        async with asyncio.timeout(60):
            answer = await heard

    assert {"operation": {"state": "DONE", "action": "database.create_backup"}} == answer.data["operationChanged"]
