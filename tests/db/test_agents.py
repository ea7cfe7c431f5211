"""Agents: the code says what they are, operators say how they run, and neither writes over the other."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from db import agents, events, jobs, leases
from db.agents import Filter, Known, Load, Record, Trouble
from db.database import Database, Transaction
from db.events import START, Kind
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.work import AgentCategory, AgentPriority
from db.pages import Order, Window
from tests.conftest import People
from workers.agents.roster import ROSTER

CLIPPER = Known("clipper", "Clipper II", AgentCategory.CONTENT, "better", "2", 60)


async def test_agents_are_found_by_id_and_all_together(database: Database) -> None:
    async with database.transaction("default") as tx:
        everyone = await agents.everyone(tx)
        one = await agents.by_id(tx, "clipper")
        some = await agents.by_ids(tx, ["clipper", "nobody"])
        assert await agents.by_id(tx, "nobody") is None

    assert {known.id for known in ROSTER} == {agent.id for agent in everyone}
    order = {str(category): place for place, category in enumerate(AgentCategory)}
    assert everyone == sorted(everyone, key=lambda agent: (order[agent.category], agent.id))
    assert [one] == some


async def test_settling_again_brings_descriptions_and_keeps_the_configuration(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.mark_enabled(tx, "clipper", enabled=False)
        before = await agents.configure(tx, "clipper", {"max_concurrent": 2, "timeout_s": 30, "options": {"a": 1}})
        await agents.settle(tx, [CLIPPER])
        after = await agents.by_id(tx, "clipper")

    assert before is not None
    assert after is not None
    assert ("Clipper II", AgentCategory.CONTENT, "better", "2") == (
        after.name,
        after.category,
        after.description,
        after.version,
    )
    assert (False, 2, 30, {"a": 1}, before.revision) == (
        after.enabled,
        after.max_concurrent,
        after.timeout_s,
        after.options,
        after.revision,
    )


async def test_a_new_agent_is_on_with_the_code_s_timeout(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.settle(tx, [Known("new-one", "New", AgentCategory.INPUT, "", "1", 77)])
        made = await agents.by_id(tx, "new-one")

    assert made is not None
    assert (True, 77, "new-one", 1, AgentPriority.NORMAL) == (
        made.enabled,
        made.timeout_s,
        made.implementation,
        made.revision,
        made.priority,
    )


async def test_every_change_raises_the_revision_is_told_and_touches_one_tenant(database: Database) -> None:
    async with database.transaction("default") as tx:
        off = await agents.mark_enabled(tx, "clipper", enabled=False)
        configured = await agents.configure(tx, "clipper", {"priority": AgentPriority.HIGH, "memory_mb": 512})
        assert await agents.mark_enabled(tx, "nobody", enabled=True) is None
        assert await agents.configure(tx, "nobody", {"max_concurrent": 1}) is None
    async with database.transaction("other") as tx:
        theirs = await agents.by_id(tx, "clipper")
    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.AGENT_CHANGED]

    assert off is not None
    assert configured is not None
    assert theirs is not None
    assert (2, False) == (off.revision, off.enabled)
    assert (3, AgentPriority.HIGH, 512) == (configured.revision, configured.priority, configured.memory_mb)
    assert (1, True, AgentPriority.NORMAL) == (theirs.revision, theirs.enabled, theirs.priority)
    assert [("default", "clipper", 2), ("default", "clipper", 3)] == [
        (event.tenant_id, event.entity_id, event.payload["revision"]) for event in told
    ]


async def told(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    """What was told of agents, and to whom."""
    async with database.system() as tx:
        heard = await events.after(tx, START)
    return [(event.tenant_id, event.entity_id, event.payload) for event in heard if event.kind is Kind.AGENT_CHANGED]


async def test_descriptions_that_changed_are_told_and_others_are_not(database: Database) -> None:
    """At every start each tenant's agents are settled; nobody hears of those that are as they were."""
    newest = msgspec.structs.replace(CLIPPER, id="newest")
    for known in ([CLIPPER], [CLIPPER], [CLIPPER, newest]):
        async with database.transaction("default") as tx:
            await agents.settle(tx, known)

    expected = [("default", name, {"enabled": True, "revision": 1}) for name in ("clipper", "newest")]
    assert expected == await told(database)


async def test_a_new_tenant_s_agents_are_news_to_nobody(database: Database) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text("INSERT INTO tenants (id, name) VALUES ('new', 'New')"))
    async with database.transaction("new") as tx:
        await agents.settle(tx, [CLIPPER])

    assert [] == await told(database)


async def test_that_the_jobs_waiting_for_an_agent_went_is_told(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.announce_cleared(tx, {"clipper": 3})
        await agents.announce_cleared(tx, {})

    assert [("default", "clipper", {"cleared": 3})] == await told(database)


async def test_a_configuration_out_of_range_is_refused_and_changes_nothing(database: Database) -> None:
    bad: list[dict[str, Any]] = [
        {"max_concurrent": 0},
        {"max_concurrent": 51},
        {"timeout_s": 0},
        {"timeout_s": 3601},
        {"retry_attempts": -1},
        {"retry_attempts": 11},
    ]
    for changes in bad:
        with pytest.raises(sa.exc.IntegrityError, match="check constraint"):
            async with database.transaction("default") as tx:
                await agents.configure(tx, "clipper", changes)

    async with database.transaction("default") as tx:
        clipper = await agents.by_id(tx, "clipper")
    assert clipper is not None
    assert 1 == clipper.revision


async def test_a_filter_narrows_the_list_and_its_count(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.mark_enabled(tx, "clipper", enabled=False)
        for wanted, expected in (
            (Filter(), len(ROSTER)),
            (Filter(enabled=False), 1),
            (Filter(enabled=True), len(ROSTER) - 1),
            (Filter(categories=[AgentCategory.EDITING]), 3),
            (Filter(categories=[AgentCategory.EDITING], enabled=True), 2),
            (Filter(categories=[AgentCategory.INPUT, AgentCategory.AUDIO]), 3),
        ):
            page = await agents.listed(tx, wanted, Order("category", descending=False), Window(size=100))
            assert expected == len(page.items) == await agents.how_many(tx, wanted), wanted


async def test_running_steps_are_counted_by_agent(database: Database) -> None:
    chain = ("video-downloader", "clipper")
    async with database.transaction("default") as tx:
        for _ in range(3):
            await jobs.add(tx, NewJob(user_id=None, source_url="https://v.test", chain=chain))
        before = await agents.running_steps(tx)
    async with database.system() as tx:
        claims = await leases.claim(tx, "w1", most=3)
    async with database.transaction("default") as tx:
        for claim, ordinal in zip(claims, (0, 0, 1), strict=True):
            assert await leases.begin_step(tx, claim, ordinal, chain[ordinal])
        await leases.complete(tx, claims[1])
        after = await agents.running_steps(tx)

    assert ({}, {"clipper": 1}) == (before, {name: count for name, count in after.items() if name == "clipper"})
    # A completed job has no running step, whichever it was in.
    assert {"video-downloader": 1, "clipper": 1} == after


DOWNLOADER = "video-downloader"
ENDED = (
    "INSERT INTO processing_steps (id, tenant_id, job_id, ordinal, agent_id, status, message, started_at, finished_at) "
    "SELECT gen_random_uuid(), 'default', :job, CAST(:first AS int) + n, 'clipper', CAST(:status AS step_status), "
    ":message, now() - make_interval(secs => :began), now() - make_interval(secs => :ended) "
    "FROM generate_series(1, :many) AS n"
)


class History:
    """Steps of the clipper that ended, each series of them later than the one before."""

    def __init__(self, tx: Transaction, job_id: UUID) -> None:
        self._tx = tx
        self._job = job_id
        self._made = 0

    async def add(self, status: str, *, took: float = 1, many: int = 1, message: str | None = None) -> None:
        """The clipper ended so many steps so."""
        given = {"status": status, "many": many, "message": message, "job": self._job, "first": self._made}
        ended = 20_000.0 - self._made
        await self._tx.execute(sa.text(ENDED), {**given, "began": ended + took, "ended": ended})
        self._made += many


async def a_job(tx: Transaction, owner: UUID | None = None) -> Job:
    return await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=["clipper"]))


async def test_a_record_is_of_the_runs_that_ended(database: Database) -> None:
    async with database.transaction("default") as tx:
        history = History(tx, (await a_job(tx)).id)
        for took in (2, 4, 6):
            await history.add("completed", took=took)
        await history.add("failed", took=100)
        await history.add("skipped", took=50)
        await history.add("cancelled", took=70)
        found = await agents.records(tx, ["clipper", DOWNLOADER, "nobody"])
        clipper, idle = sorted(found, key=lambda record: record.agent_id)

    assert ("clipper", 5, 3, 1, 1, 4.0, 5.8, 4.0) == msgspec.structs.astuple(clipper)[:-1]
    assert clipper.since is not None
    assert Record(DOWNLOADER, 0, 0, 0, 0, None, None, None, None) == idle


async def test_a_record_is_of_the_newest_alone_however_many_there_were(database: Database) -> None:
    async with database.transaction("default") as tx:
        history = History(tx, (await a_job(tx)).id)
        await history.add("failed", took=500, many=50)
        await history.add("completed", took=3, many=agents.RUNS)
        [clipper] = await agents.records(tx, ["clipper"])
        [trouble] = await agents.troubles(tx, ["clipper"])

    assert (agents.RUNS, agents.RUNS, 0, 3.0) == (clipper.runs, clipper.completed, clipper.failed, clipper.p95_s)
    assert Trouble("clipper", failing=False, last_error_at=None, last_error=None) == trouble


async def test_a_record_ends_with_the_tenant(database: Database) -> None:
    async with database.transaction("default") as tx:
        await History(tx, (await a_job(tx)).id).add("failed", many=3, message="theirs")
    async with database.transaction("other") as tx:
        [record] = await agents.records(tx, ["clipper"])
        [trouble] = await agents.troubles(tx, ["clipper"])

    assert (0, False, None) == (record.runs, trouble.failing, trouble.last_error_at)


async def test_three_failures_in_a_row_are_trouble_and_two_are_not(database: Database) -> None:
    async with database.transaction("default") as tx:
        history = History(tx, (await a_job(tx)).id)
        seen = []
        for status in ("failed", "failed", "completed", "failed", "failed", "cancelled", "failed", "skipped"):
            await history.add(status, message=status)
            [trouble] = await agents.troubles(tx, ["clipper"])
            seen.append(trouble.failing)

    assert [False, False, False, False, False, False, True, False] == seen
    assert "failed" == trouble.last_error


async def test_the_words_of_a_failure_are_for_those_who_may_see_its_job(database: Database, people: People) -> None:
    """When it was, everybody may know."""
    owner, colleague = people[Role.USER].id, people[Role.OPERATOR].id
    async with database.transaction("default") as tx:
        await History(tx, (await a_job(tx, owner)).id).add("failed", message="no video")
        [for_all], [for_owner], [for_colleague] = [
            await agents.troubles(tx, ["clipper"], owner=each) for each in (None, owner, colleague)
        ]

    assert ["no video", "no video", None] == [each.last_error for each in (for_all, for_owner, for_colleague)]
    assert for_all.last_error_at == for_colleague.last_error_at is not None


async def test_what_an_agent_has_to_do_is_counted(database: Database) -> None:
    async with database.transaction("default") as tx:
        for _ in range(3):
            await a_job(tx)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w1", most=1)
    async with database.transaction("default") as tx:
        await leases.begin_step(tx, claim, 0, "clipper")
        found = {load.agent_id: load for load in await agents.loads(tx, ["clipper", DOWNLOADER, "nobody"])}

    clipper, idle = Load("clipper", running=1, waiting=2), Load(DOWNLOADER, running=0, waiting=0)
    assert {"clipper": clipper, DOWNLOADER: idle} == found


async def test_what_waits_for_agents_comes_in_the_order_of_turns(database: Database, people: People) -> None:
    owner = people[Role.USER].id
    async with database.transaction("default") as tx:
        made = [await a_job(tx, owner if number % 2 else None) for number in range(5)]
        urgent = await jobs.mark_urgent(tx, made[3].id, priority=9)
        await jobs.mark_cancelled(tx, made[0].id)
        elsewhere = await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=[DOWNLOADER]))
        everybodys = await agents.waiting_for(tx, ["clipper", DOWNLOADER, "nobody"], most=9)
        second = await agents.waiting_for(tx, ["clipper", DOWNLOADER], most=1, skipped=1)
        owners = await agents.waiting_for(tx, ["clipper"], most=9, owner=owner)
        counted = await agents.how_many_wait_for(tx, ["clipper", DOWNLOADER], owner=owner)

    assert urgent is not None
    assert [urgent.id, made[1].id, made[2].id, made[4].id, elsewhere.id] == [job.id for job in everybodys]
    assert [made[1].id] == [job.id for job in second]
    assert [urgent.id, made[1].id] == [job.id for job in owners]
    assert {"clipper": 2, DOWNLOADER: 1} == counted


def test_an_agent_could_begin_a_step_when_it_is_on_and_has_a_place_and_a_worker() -> None:
    agent = msgspec.convert(
        {
            **{name: "" for name in ("id", "implementation", "name", "description", "version")},
            **{"category": "input", "priority": "low", "auto_start": True, "options": {}, "revision": 1},
            **{"timeout_s": 1, "retry_attempts": 1, "memory_mb": None, "cpu_cores": None, "disk_mb": None},
            **{"enabled": True, "max_concurrent": 2, "updated_at": "2026-01-01T00:00:00Z"},
        },
        type=agents.Agent,
    )
    off = msgspec.structs.replace(agent, enabled=False)

    assert ("active", "inactive") == (agent.status, off.status)
    assert ["available", "busy", "no_worker", "disabled"] == [
        agent.availability(1, workers=True),
        agent.availability(2, workers=True),
        agent.availability(0, workers=False),
        off.availability(0, workers=False),
    ]
