"""Agents and workers as they are: switched on or off, busy or free, fast or slow."""

from datetime import timedelta

import sqlalchemy as sa

from dataloaders.snapshot import agents_workers
from dataloaders.snapshot.agents_workers import HIDDEN, AgentEntry, restored, shown
from dataloaders.snapshot.sources import Sources
from db import agents
from db.database import Database
from db.models.work import workers
from tests.dataloaders.snapshot.conftest import WORKER, Lived, add_jobs, frame_of, say_alive


async def entries(sources: Sources, tenant: str) -> dict[str, AgentEntry]:
    section = await agents_workers.collect(sources, frame_of(tenant))
    return {agent.name: agent for agent in section.agents.status.agents}


async def test_all_eleven_are_there_and_on(sources: Sources, tenant: str) -> None:
    section = await agents_workers.collect(sources, frame_of(tenant))

    assert (11, 11) == (section.agents.status.total_agents, section.agents.status.active_agents)
    assert 11 == len(section.agents.agents) == section.agents.configuration.total_configs
    assert {"active"} == {tile.status for tile in section.agents.agents}
    assert agents_workers.complete(section)


async def test_load_depth_and_last_activity_are_real(sources: Sources, tenant: str, lived: Lived) -> None:
    known = await entries(sources, tenant)

    assert (0, 3) == (known["video-downloader"].current_load, known["video-downloader"].queue_depth)
    assert (1, 0) == (known["video-analyzer"].current_load, known["video-analyzer"].queue_depth)
    assert known["video-downloader"].last_activity is not None
    assert known["face-detector"].last_activity is None


async def test_availability_says_why_an_agent_does_nothing(
    sources: Sources, database: Database, tenant: str, lived: Lived
) -> None:
    async with database.transaction(tenant) as tx:
        await agents.mark_enabled(tx, "clipper", enabled=False)
        await agents.configure(tx, "video-analyzer", {"max_concurrent": 1})

    known = await entries(sources, tenant)

    assert ("stopped", "disabled") == (known["clipper"].status, known["clipper"].availability)
    assert ("running", "busy") == (known["video-analyzer"].status, known["video-analyzer"].availability)
    assert ("running", "available") == (known["face-detector"].status, known["face-detector"].availability)


async def test_without_a_worker_no_agent_is_available(sources: Sources, tenant: str) -> None:
    assert {"no_worker"} == {agent.availability for agent in (await entries(sources, tenant)).values()}


async def test_workers_are_told_by_what_they_did(sources: Sources, tenant: str, lived: Lived) -> None:
    shown = (await agents_workers.collect(sources, frame_of(tenant))).workers

    [tile] = shown.workers
    assert (WORKER, "active", str(lived.processing), 2, 1) == (
        tile.id,
        tile.status,
        tile.current_task,
        tile.tasks_completed,
        tile.tasks_failed,
    )
    assert shown.performance.fastest_worker is not None
    assert WORKER == shown.performance.fastest_worker.id
    assert (1, None) == (shown.performance.active_workers, shown.performance.worker_efficiency)


async def test_a_tenant_is_told_of_its_own_jobs_only(
    sources: Sources, database: Database, tenant: str, lived: Lived
) -> None:
    """A worker does the jobs of all; what it does for others shows as that it is busy, and as nothing else."""
    [foreign] = await add_jobs(database, "other", 1)
    await say_alive(database, [foreign, lived.processing])
    own, others = [(await agents_workers.collect(sources, frame_of(name))).workers for name in (tenant, "other")]
    await say_alive(database, [foreign])
    busy = (await agents_workers.collect(sources, frame_of(tenant))).workers

    assert [(str(lived.processing), 2, 1)] == [(w.current_task, w.tasks_completed, w.tasks_failed) for w in own.workers]
    assert [(str(foreign), 0, 0)] == [(w.current_task, w.tasks_completed, w.tasks_failed) for w in others.workers]
    assert [(2, 2), (2, 0)] == [(w.current_tasks, w.total_tasks_completed) for w in (*own.status, *others.status)]
    assert [(None, "active")] == [(w.current_task, w.status) for w in busy.workers]
    assert [1] == [worker.current_tasks for worker in busy.status]


async def test_a_worker_that_was_killed_has_no_job_any_more(
    sources: Sources, database: Database, tenant: str, lived: Lived
) -> None:
    async with database.system() as tx:
        await tx.execute(sa.update(workers).values(heartbeat_at=sa.func.now() - timedelta(seconds=16)))

    shown = (await agents_workers.collect(sources, frame_of(tenant))).workers

    assert [(None, "stale")] == [(worker.current_task, worker.status) for worker in shown.workers]
    assert [0] == [worker.current_tasks for worker in shown.status]


def test_what_is_named_like_a_secret_is_hidden_at_any_depth() -> None:
    options = {"voice": "calm", "api_key": "abc", "smtp": {"Password": "hunter2", "host": "mail"}}

    assert {"voice": "calm", "api_key": HIDDEN, "smtp": {"Password": HIDDEN, "host": "mail"}} == shown(options)


def test_what_is_given_back_hidden_is_what_it_was() -> None:
    present = {"api_key": "abc", "smtp": {"Password": "hunter2", "host": "mail"}}
    given = {**shown(present), "new_key": HIDDEN, "note": HIDDEN}

    assert {**present, "new_key": HIDDEN, "note": HIDDEN} == restored(given, present)
