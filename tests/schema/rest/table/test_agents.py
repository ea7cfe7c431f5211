"""The agents' endpoints as clients call them: what they answer, whom they refuse, and what older clients read."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from db import agents, jobs, leases, logs, workers
from db.database import Database
from db.jobs import Job, NewJob
from db.logs import NewLine
from db.models.identity import Role
from db.models.records import Severity
from db.models.work import StepStatus, WorkerState
from db.workers import Beat
from resolvers.context import Context, Services
from schema.rest import serving
from schema.rest.envelope import RESERVED
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of
from workers.agents.roster import ROSTER

ENVELOPE = {"success", "data", "timestamp", "response_time_ms"}
CLIPPER = "clipper"

PLAIN: dict[str, tuple[str, set[str]]] = {
    "/agents": ("agents", {"agents", "total_count", "available_count"}),
    "/agents/status": ("agents", {"agents", "total_agents", "active_agents"}),
    "/agents/performance": ("performance", {"performance"}),
    "/agents/health": ("health", {"health"}),
    "/agents/config": ("configurations", {"configurations"}),
}
"""What is answered about all agents: the key at the top level that has them, and all keys there."""

CALLS: dict[str, tuple[dict[str, Any] | None, Role]] = {
    "GET /agents": (None, Role.USER),
    "GET /agents/status": (None, Role.USER),
    "GET /agents/clipper": (None, Role.USER),
    "GET /agents/performance": (None, Role.USER),
    "GET /agents/health": (None, Role.USER),
    "GET /agents/queue/clipper": (None, Role.USER),
    "GET /agents/config": (None, Role.SUPERVISOR),
    "GET /agents/logs/clipper": (None, Role.SUPERVISOR),
    "POST /agents/clipper/start": (None, Role.OPERATOR),
    "POST /agents/clipper/stop": (None, Role.OPERATOR),
    "POST /agents/restart": (None, Role.OPERATOR),
    "POST /agents/config": ({"agent_id": CLIPPER, "timeout": 9}, Role.ADMIN),
    "POST /agents/clear-queue": (None, Role.ADMIN),
}
"""Every endpoint with what it is sent and the least of the roles that may."""

RANKS = (Role.USER, Role.READONLY, Role.SUPERVISOR, Role.OPERATOR, Role.ADMIN)
MAY = {
    Role.USER: set(RANKS),
    Role.SUPERVISOR: set(RANKS) - {Role.USER},
    Role.OPERATOR: {Role.OPERATOR, Role.ADMIN},
    Role.ADMIN: {Role.ADMIN},
}


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    """The table, put together once: a hundred documents are checked for it."""

    async def identify(request: Request) -> Context:
        found: Context = await request.app.state.identify(request)
        return found

    return serving.routes(schema, identify)


@pytest_asyncio.fixture
async def client(routes: list[Route], services: Services, people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as the role that the header `x-test-role` names, an administrator unless told otherwise."""

    async def identify(request: Request) -> Context:
        role = request.headers["x-test-role"]
        return context_of(services, None if role == "nobody" else people[Role(role)])

    app = Starlette(routes=routes)
    app.state.identify = identify
    transport = httpx.ASGITransport(app)
    headers = {"x-test-role": "admin"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as opened:
        yield opened


async def called(client: httpx.AsyncClient, call: str, sent: Any = None, role: str = "admin") -> httpx.Response:
    method, path = call.split()
    return await client.request(method, f"/api{path}", json=sent, headers={"x-test-role": role})


async def told(client: httpx.AsyncClient, call: str, sent: Any = None) -> Any:
    """The whole body of an answer that went well."""
    answer = await called(client, call, sent)
    assert 200 == answer.status_code, answer.text
    return answer.json()


async def wrong(client: httpx.AsyncClient, call: str, sent: Any = None) -> tuple[int, str]:
    answer = await called(client, call, sent)
    assert answer.json()["success"] is False
    return answer.status_code, answer.json()["error"]


async def here(database: Database) -> None:
    """There is a worker."""
    async with database.system() as tx:
        said = Beat(
            id="w1",
            hostname="studio",
            pid=7,
            version="5",
            state=WorkerState.IDLE,
            concurrency=1,
            current_jobs=[],
            jobs_completed=0,
            jobs_failed=0,
            cpu_percent=None,
            memory_mb=None,
        )
        await workers.beat(tx, said)


async def queued(database: Database, owner: UUID | None = None) -> Job:
    async with database.transaction("default") as tx:
        return await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=[CLIPPER]))


async def ended(database: Database, status: StepStatus, message: str | None = None) -> None:
    """The clipper ended a step so."""
    await queued(database)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w1", most=1)
    async with database.transaction("default") as tx:
        await leases.begin_step(tx, claim, 0, CLIPPER)
    async with database.transaction("default") as tx:
        await leases.finish_step(tx, claim, 0, status, message=message)
        await leases.fail(tx, claim, code="STEP_FAILED", message="over")


async def settings(database: Database) -> list[tuple[Any, ...]]:
    async with database.transaction("default") as tx:
        return [tuple(row) for row in await tx.rows(sa.text("SELECT id, revision, enabled FROM agents ORDER BY id"))]


async def test_nothing_but_the_envelope_stands_below_the_new_prefix(client: httpx.AsyncClient) -> None:
    for path, (_, keys) in PLAIN.items():
        old, new = [(await client.get(f"{prefix}{path}")).json() for prefix in ("/api", "/api/v1")]

        assert ENVELOPE == set(new), path
        assert ENVELOPE | keys == set(old), path
        assert old["data"].keys() == new["data"].keys() if isinstance(new["data"], dict) else True


async def test_what_is_told_of_all_agents_is_told_of_each(client: httpx.AsyncClient) -> None:
    for path, (key, _) in PLAIN.items():
        shown = (await told(client, f"GET {path}"))[key]

        assert {known.id for known in ROSTER} == {agent["name"] for agent in shown}, path


async def test_the_list_has_what_a_client_boots_with(client: httpx.AsyncClient, database: Database) -> None:
    await here(database)
    await told(client, "POST /agents/clipper/stop")

    body = await told(client, "GET /agents")

    assert (len(ROSTER), len(ROSTER) - 1) == (body["total_count"], body["available_count"])
    by_name = {agent["name"]: agent for agent in body["agents"]}
    assert ("inactive", "disabled") == (by_name[CLIPPER]["status"], by_name[CLIPPER]["availability"])
    assert {"active"} == {agent["status"] for name, agent in by_name.items() if name != CLIPPER}
    assert ["clips", "loudness-normalisation", "thumbnails"] == by_name[CLIPPER]["capabilities"]
    assert body["timestamp"].endswith("Z")


async def test_the_status_says_what_agents_work_on_and_how_much_waits(
    client: httpx.AsyncClient, database: Database
) -> None:
    await here(database)
    for _ in range(3):
        await queued(database)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w1", most=1)
    async with database.transaction("default") as tx:
        await leases.begin_step(tx, claim, 0, CLIPPER)

    body = await told(client, "GET /agents/status")

    assert (11, 11) == (body["total_agents"], body["active_agents"])
    [old] = [agent for agent in body["agents"] if agent["name"] == CLIPPER]
    [new] = [agent for agent in body["data"]["agents"] if agent["name"] == CLIPPER]
    assert (1, 2, 4) == (old["current_load"], old["queue_depth"], old["max_capacity"])
    assert {"running": 1, "waiting": 2, "max": 4} == new["load"]
    assert old["last_activity"] == new["last_activity"] is not None


async def test_figures_are_measured_or_null(client: httpx.AsyncClient, database: Database) -> None:
    before = await told(client, "GET /agents/clipper")
    await here(database)
    await ended(database, StepStatus.COMPLETED)
    await ended(database, StepStatus.FAILED, "no sound")
    after = await told(client, "GET /agents/clipper")

    nothing = {"runs": 0, "completed": 0, "failed": 0, "skipped": 0}
    assert nothing | dict.fromkeys(("p50_s", "p95_s", "average_s", "since")) == before["performance"]
    assert (False, "no worker is there to run it", None, None) == (
        before["health"]["healthy"],
        before["health"]["reason"],
        before["health"]["last_heartbeat"],
        before["health"]["last_error_at"],
    )
    figures = after["performance"]
    assert (2, 1, 1) == (figures["runs"], figures["completed"], figures["failed"])
    assert 0 <= figures["p50_s"] == figures["p95_s"] == figures["average_s"] < 60
    assert (True, None, "no sound") == tuple(after["health"][name] for name in ("healthy", "reason", "last_error"))
    assert after["health"]["last_heartbeat"].endswith("Z")


async def test_an_agent_is_ill_after_three_failures_in_a_row_and_well_after_the_next_success(
    client: httpx.AsyncClient, database: Database
) -> None:
    await here(database)
    seen = []
    for status in (*[StepStatus.FAILED] * 3, StepStatus.COMPLETED):
        await ended(database, status, "broken")
        [health] = [
            each["health"] for each in (await told(client, "GET /agents/health"))["health"] if each["name"] == CLIPPER
        ]
        seen.append((health["healthy"], health["reason"]))

    assert [(True, None), (True, None), (False, "its last 3 runs failed"), (True, None)] == seen


async def test_the_words_of_a_failure_are_kept_from_whose_job_it_is_not(
    client: httpx.AsyncClient, database: Database
) -> None:
    await ended(database, StepStatus.FAILED, "https://v.test/secret is gone")

    answer = await called(client, "GET /agents/clipper", role="user")

    health = answer.json()["data"]["health"]
    assert health["last_error"] is None
    assert health["last_error_at"] is not None


async def test_an_agent_is_stopped_and_started_by_the_name_that_clients_know(client: httpx.AsyncClient) -> None:
    stopped = await told(client, "POST /agents/Clipper/stop")
    started = await told(client, "POST /agents/CLIPPER/start")

    assert [(CLIPPER, "inactive"), (CLIPPER, "active")] == [(b["agent_id"], b["status"]) for b in (stopped, started)]
    assert "video-downloader" == (await told(client, "GET /agents/video_downloader"))["name"]


async def test_restarting_names_the_agents_and_the_jobs(client: httpx.AsyncClient, database: Database) -> None:
    job = await queued(database)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w1", most=1)
    async with database.transaction("default") as tx:
        await leases.begin_step(tx, claim, 0, CLIPPER)

    some = await told(client, "POST /agents/restart", {"agent_ids": ["video_cutter"]})
    everything = await told(client, "POST /agents/restart")

    assert (["video-cutter"], []) == (some["restarted"], some["data"]["restarted_jobs"])
    assert sorted(known.id for known in ROSTER) == everything["restarted"]
    assert [str(job.id)] == everything["data"]["restarted_jobs"]


async def test_the_log_of_an_agent_comes_newest_first_by_pages_and_levels(
    client: httpx.AsyncClient, database: Database
) -> None:
    for number, level in enumerate((Severity.INFO, Severity.ERROR, Severity.INFO)):
        async with database.transaction("default") as tx:
            line = NewLine(level=level, source=agents.source_of(CLIPPER), message=f"line {number}")
            await logs.write(tx, [line, NewLine(level=level, source="api", message="another's")])

    first = await told(client, "GET /agents/logs/clipper?per_page=2")
    second = await told(client, "GET /agents/logs/clipper?per_page=2&page=2")
    errors = await told(client, "GET /agents/logs/clipper?level=error,critical")

    assert [["line 2", "line 1"], ["line 0"], ["line 1"]] == [
        [line["message"] for line in body["logs"]] for body in (first, second, errors)
    ]
    assert (3, 2, True) == (first["total"], first["pagination"]["per_page"], first["pagination"]["has_next"])


async def test_what_waits_for_an_agent_comes_in_the_order_of_turns_and_to_each_their_own(
    client: httpx.AsyncClient, database: Database, people: People
) -> None:
    first, second = await queued(database, people[Role.USER].id), await queued(database)
    async with database.transaction("default") as tx:
        await jobs.mark_urgent(tx, second.id, priority=9)

    everything = await told(client, "GET /agents/queue/clipper")
    rest = await told(client, "GET /agents/queue/clipper?limit=1&offset=1")
    own = (await called(client, "GET /agents/queue/clipper", role="user")).json()

    assert [str(second.id), str(first.id)] == [job["id"] for job in everything["queue"]]
    assert ([str(first.id)], 2) == ([job["id"] for job in rest["queue"]], rest["total"])
    assert ([str(first.id)], 1) == ([job["id"] for job in own["queue"]], own["total"])


async def test_queues_are_cleared_of_one_agent_or_of_all(client: httpx.AsyncClient, database: Database) -> None:
    job = await queued(database)

    would = await told(client, "POST /agents/clear-queue", {"agent_id": "Clipper", "dry_run": True})
    others = await told(client, "POST /agents/clear-queue", {"agent_id": "video_cutter"})
    everybodys = await told(client, "POST /agents/clear-queue")

    assert [1, 0, 1] == [body["cleared"] for body in (would, others, everybodys)]
    assert [str(job.id)] == everybodys["data"]["sample_ids"]


async def test_a_configuration_is_read_changed_and_written_back(client: httpx.AsyncClient) -> None:
    """As a console does that knows nothing of fields which it does not show."""
    options = {"target_lufs": -16, "api_key": "k"}
    await told(client, "POST /agents/config", {"agent_id": CLIPPER, "environment": options})
    [read] = [each for each in (await told(client, "GET /agents/config"))["configurations"] if each["name"] == CLIPPER]
    changed = {
        **read,
        "enabled": False,
        "max_concurrent": 2,
        "timeout": 60,
        "retry_attempts": 0,
        "priority": "high",
        "resource_limits": {"memory_mb": 512, "cpu_cores": None},
    }

    body = await told(client, "POST /agents/config", {"configurations": [changed]})

    [written] = body["configurations"]
    assert {"target_lufs": -16, "api_key": "***"} == read["environment"] == written["environment"]
    kept = {"revision", "last_updated", "resource_limits"}
    assert {k: v for k, v in changed.items() if k not in kept} == {k: v for k, v in written.items() if k not in kept}
    assert {"memory_mb": 512, "cpu_cores": None, "disk_mb": None} == written["resource_limits"]


UNFIT: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "agent_id: it is needed"),
    ({"agent_id": CLIPPER}, 400, "agents: say at least one thing that is to be changed of clipper"),
    ({"agent_id": CLIPPER, "timeout": 0}, 400, "timeout: expected a whole number >= 1"),
    ({"agent_id": CLIPPER, "max_concurrent": "many"}, 400, "max_concurrent: expected a whole number, got text"),
    ({"agent_id": CLIPPER, "resource_limits": 5}, 400, "resource_limits: an object is needed"),
    ({"agents": {}}, 400, "agents: a list is needed"),
    ({"configurations": [3]}, 400, "configurations[0]: an object is needed"),
    ({"agents": [{"id": CLIPPER, "timeout": 5}, {"timeout": 5}]}, 400, "agents[1].agent_id: it is needed"),
    ({"agents": [{"id": CLIPPER, "timeout": 5}] * 2}, 400, "agents: clipper is named twice"),
    ({"agents": [{"id": CLIPPER, "timeout": 5}, {"id": "nobody", "timeout": 5}]}, 404, "there is no agent nobody"),
    ({"agent_id": "../etc", "timeout": 5}, 404, "there is no agent ../etc"),
]
"""What is no configuration, with the status and the words that it is refused with."""


async def test_a_configuration_that_does_not_do_changes_none(client: httpx.AsyncClient, database: Database) -> None:
    before = await settings(database)

    for sent, status, message in UNFIT:
        assert (status, message) == await wrong(client, "POST /agents/config", sent)

    assert before == await settings(database)


UNREADABLE: list[tuple[str, dict[str, Any] | None, str]] = [
    ("GET /agents/logs/clipper?level=loud", None, "level: one of debug, info, warning, error, critical is needed"),
    ("GET /agents/logs/clipper?page=0", None, "page: a whole number, 1 "),
    ("GET /agents/queue/clipper?limit=1000", None, "limit: a whole number, 1 to 100"),
    ("POST /agents/restart", {"agent_ids": 5}, "agent_ids: a list of agents is needed"),
    ("POST /agents/clear-queue", {"dry_run": "maybe"}, "dry_run: "),
]
"""Calls that cannot be read, with how their refusal begins."""


async def test_what_cannot_be_read_is_named_as_the_client_sent_it(client: httpx.AsyncClient) -> None:
    for call, sent, message in UNREADABLE:
        status, said = await wrong(client, call, sent)

        assert (400, message) == (status, said[: len(message)])


NOBODYS = [
    "GET /agents/nobody",
    "GET /agents/a%20b%20!",
    "GET /agents/logs/nobody",
    "GET /agents/queue/nobody",
    "POST /agents/nobody/start",
    "POST /agents/nobody/stop",
]
"""Calls about an agent that is not there."""


async def test_an_agent_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    for call in NOBODYS:
        status, said = await wrong(client, call)

        assert (404, "there is no agent ") == (status, said[:18]), call


async def test_queues_of_an_agent_that_is_not_there_are_not_cleared(
    client: httpx.AsyncClient, database: Database
) -> None:
    job = await queued(database)

    for nobody in ("nobody", 5):
        assert 404 == (await wrong(client, "POST /agents/clear-queue", {"agent_id": nobody}))[0]

    async with database.transaction("default") as tx:
        assert job == await jobs.by_id(tx, job.id)


@pytest.mark.parametrize("role", ["nobody", *Role])
async def test_who_may_not_is_refused_and_changes_nothing(
    role: str, client: httpx.AsyncClient, database: Database
) -> None:
    job = await queued(database)
    before = await settings(database)
    refused = {}
    for call, (sent, least) in CALLS.items():
        answer = await called(client, call, sent, role)
        if answer.status_code != 200:
            refused[call] = answer.status_code
        may = role != "nobody" and Role(role) in MAY[least]
        assert may is (answer.status_code == 200), f"{call}: {answer.text}"

    if role == "nobody":
        assert set(refused) == set(CALLS)
        assert {401} == set(refused.values())
    else:
        assert {403} >= set(refused.values())
    if all(call in refused for call in CALLS if call.startswith("POST")):
        assert before == await settings(database)
        async with database.transaction("default") as tx:
            assert job == await jobs.by_id(tx, job.id)


def test_no_key_for_older_clients_is_one_of_the_envelope() -> None:
    assert RESERVED.isdisjoint({key for _, keys in PLAIN.values() for key in keys})
