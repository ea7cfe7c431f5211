"""Agents over GraphQL: how they do, for as few statements as can be, and to each caller no more than is theirs."""

from typing import Any, Final
from uuid import UUID

from db import agents, jobs, logs
from db.database import Database
from db.jobs import Job, NewJob
from db.logs import NewLine
from db.models.identity import Role
from db.models.records import Severity
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.schema.test_query import statements

EVERYTHING: Final = """{ agentRoster { total active available agents {
  id status availability capabilities environment resourceLimits { memoryMb cpuCores diskMb }
  load { running waiting max } lastActivityAt
  performance { runs completed failed skipped p50S p95S averageS since }
  health { healthy reason lastHeartbeatAt lastErrorAt lastError }
  queue(first: 2) { totalCount nodes { title } pageInfo { hasNextPage hasPreviousPage } }
} } }"""
QUEUE: Final = """query($first: Int, $offset: Int) { agent(id: "clipper") {
  load { waiting } queue(first: $first, offset: $offset) { totalCount nodes { title } pageInfo { hasNextPage } }
} }"""
LOGS: Final = "query($id: ID!) { agentLogs(id: $id) { totalCount nodes { message } } }"


async def queued(database: Database, title: str, owner: UUID | None = None, chain: str = "clipper") -> Job:
    async with database.transaction("default") as tx:
        return await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", title=title, chain=[chain]))


async def told(ask: Ask, people: People, document: str, role: Role = Role.ADMIN, **variables: Any) -> dict[str, Any]:
    answer = await ask(people[role], document, **variables)
    assert answer.errors is None
    assert answer.data is not None
    return answer.data


async def test_all_that_is_known_of_all_agents_takes_a_handful_of_statements(
    ask: Ask, database: Database, people: People
) -> None:
    """As many as there are questions, however many agents there are."""
    for number in range(3):
        await queued(database, f"job {number}")

    with statements(database) as sent:
        found = (await told(ask, people, EVERYTHING))["agentRoster"]

    assert (11, 11, 0) == (found["total"], found["active"], found["available"])
    [clipper] = [agent for agent in found["agents"] if agent["id"] == "clipper"]
    assert {"running": 0, "waiting": 3, "max": 4} == clipper["load"]
    assert ("ACTIVE", "NO_WORKER") == (clipper["status"], clipper["availability"])
    assert 3 == clipper["queue"]["totalCount"]
    assert ["job 0", "job 1"] == [job["title"] for job in clipper["queue"]["nodes"]]
    assert {"hasNextPage": True, "hasPreviousPage": False} == clipper["queue"]["pageInfo"]
    # The agents; what they have to do; the workers; their last activity, record and trouble; what waits for them.
    assert 7 == len(sent)


async def test_a_user_sees_of_a_queue_their_own_jobs_and_how_many_all_are(
    ask: Ask, database: Database, people: People
) -> None:
    await queued(database, "mine", people[Role.USER].id)
    await queued(database, "another's", people[Role.OPERATOR].id)
    await queued(database, "mine elsewhere", people[Role.USER].id, chain="video-cutter")

    own = (await told(ask, people, QUEUE, Role.USER))["agent"]
    every = (await told(ask, people, QUEUE, Role.SUPERVISOR, first=1, offset=1))["agent"]

    page = {"totalCount": 1, "nodes": [{"title": "mine"}], "pageInfo": {"hasNextPage": False}}
    assert {"load": {"waiting": 2}, "queue": page} == own
    assert (2, [{"title": "another's"}]) == (every["queue"]["totalCount"], every["queue"]["nodes"])


async def test_the_log_is_that_of_one_agent_of_one_tenant(
    ask: Ask, database: Database, people: People, other_people: People
) -> None:
    async with database.transaction("default") as tx:
        names = ("clipper", "video-cutter")
        await logs.write(
            tx, [NewLine(level=Severity.INFO, source=agents.source_of(name), message=name) for name in names]
        )

    own, others = [await told(ask, them, LOGS, id="clipper") for them in (people, other_people)]
    missing = await ask(people[Role.ADMIN], LOGS, id="nobody")

    assert {"totalCount": 1, "nodes": [{"message": "clipper"}]} == own["agentLogs"]
    assert {"totalCount": 0, "nodes": []} == others["agentLogs"]
    assert missing.errors is not None
    assert "NOT_FOUND" == (missing.errors[0].extensions or {})["code"]


async def test_secrets_among_the_options_are_hidden_in_the_environment(
    ask: Ask, database: Database, people: People
) -> None:
    async with database.transaction("default") as tx:
        await agents.configure(tx, "clipper", {"options": {"api_key": "k", "fps": 25}, "memory_mb": 512})

    found = await told(ask, people, "{ agentConfigurations { id environment resourceLimits { memoryMb diskMb } } }")

    [clipper] = [agent for agent in found["agentConfigurations"] if agent["id"] == "clipper"]
    assert {"api_key": "***", "fps": 25} == clipper["environment"]
    assert {"memoryMb": 512, "diskMb": None} == clipper["resourceLimits"]
