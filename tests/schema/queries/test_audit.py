"""The audit trail over GraphQL: whole for administrators, about jobs for others who may, and nobody else's."""

from typing import Any, Final

import pytest

from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.acting import act
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.trails import recorded
from tests.uploading import context_of

TRAIL: Final = """
query($filter: AuditFilter, $first: Int, $after: String) {
  auditLog(filter: $filter, first: $first, after: $after) {
    totalCount
    pageInfo { hasNextPage endCursor }
    edges { node { seq action outcome code role target actorId actor { email } address userAgent details result } }
  }
}
"""


async def trail(ask: Ask, user: Any, **variables: Any) -> list[dict[str, Any]]:
    """The entries that a user sees."""
    answer = await ask(user, TRAIL, **variables)
    assert answer.errors is None
    assert answer.data is not None
    return [edge["node"] for edge in answer.data["auditLog"]["edges"]]


async def written(services: Services, database: Database) -> None:
    """Two entries about jobs and one about the queue."""
    keys = services.chain.audit.seals
    for action in ("job.cancel", "queue.clear", "job.delete"):
        await recorded(database, keys, 1, action=action)


async def test_an_administrator_sees_all_of_it_with_addresses(
    ask: Ask, services: Services, database: Database, people: People
) -> None:
    await written(services, database)

    seen = await trail(ask, people[Role.ADMIN])

    assert [(3, "job.delete"), (2, "queue.clear"), (1, "job.cancel")] == [(e["seq"], e["action"]) for e in seen]
    assert {("192.0.2.7", "curl/8")} == {(e["address"], e["userAgent"]) for e in seen}


@pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.OPERATOR])
async def test_who_supervises_sees_what_is_about_jobs_without_addresses(
    ask: Ask, services: Services, database: Database, people: People, role: Role
) -> None:
    await written(services, database)

    answer = await ask(people[role], TRAIL)
    about_the_queue = await trail(ask, people[role], filter={"action": "queue.clear"})

    assert answer.data is not None
    found = answer.data["auditLog"]
    assert ["job.delete", "job.cancel"] == [edge["node"]["action"] for edge in found["edges"]]
    assert 2 == found["totalCount"]
    assert {(None, None)} == {(edge["node"]["address"], edge["node"]["userAgent"]) for edge in found["edges"]}
    assert [] == about_the_queue


@pytest.mark.parametrize("role", [Role.USER, Role.READONLY])
async def test_nobody_else_sees_anything(
    ask: Ask, services: Services, database: Database, people: People, role: Role
) -> None:
    await written(services, database)

    answer = await ask(people[role], TRAIL)

    assert {"auditLog": None} == answer.data
    assert answer.errors is not None
    assert {"FORBIDDEN"} == {(error.extensions or {})["code"] for error in answer.errors}


async def test_another_tenant_s_trail_is_not_seen(
    ask: Ask, services: Services, database: Database, other_people: People
) -> None:
    await written(services, database)

    assert [] == await trail(ask, other_people[Role.ADMIN])


async def test_an_erased_address_is_seen_no_more(
    ask: Ask, services: Services, database: Database, people: People
) -> None:
    await written(services, database)
    await services.chain.audit.erase("default", actor=None, address="192.0.2.7", trace_id="t")

    seen = await trail(ask, people[Role.ADMIN])

    assert ("audit.erase", {"erased": 1}) == (seen[0]["action"], seen[0]["result"])
    assert {None} == {entry["address"] for entry in seen}


async def test_the_trail_is_narrowed_and_paged(
    ask: Ask, services: Services, database: Database, people: People
) -> None:
    await written(services, database)
    admin = people[Role.ADMIN]

    first = await ask(admin, TRAIL, first=2)
    assert first.data is not None
    then = await trail(ask, admin, first=2, after=first.data["auditLog"]["pageInfo"]["endCursor"])

    assert [1] == [entry["seq"] for entry in then]
    assert [2] == [entry["seq"] for entry in await trail(ask, admin, filter={"action": "queue.clear"})]
    assert [] == await trail(ask, admin, filter={"outcomes": ["DENIED"]})
    assert [] == await trail(ask, admin, filter={"since": "2999-01-01T00:00:00Z"})


async def test_an_action_is_read_back_as_it_was_carried_out(ask: Ask, services: Services, people: People) -> None:
    admin = people[Role.ADMIN]
    await act(context_of(services, admin), "queue.pause", reason="the boss is on holiday")

    [entry] = await trail(ask, admin)

    assert ("queue.pause", "DONE", None, "admin", admin.email) == (
        entry["action"],
        entry["outcome"],
        entry["code"],
        entry["role"],
        entry["actor"]["email"],
    )
    assert ("127.0.0.1", str(admin.id)) == (entry["address"], entry["actorId"])
    assert "holiday" not in str(entry)
