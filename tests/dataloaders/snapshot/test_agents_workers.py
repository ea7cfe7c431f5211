"""Agents and workers as they are: switched on or off, busy or free, fast or slow."""

from dataloaders.snapshot import agents_workers
from dataloaders.snapshot.agents_workers import HIDDEN, AgentEntry, shown
from dataloaders.snapshot.sources import Sources
from db import agents, jobs
from db.database import Database
from db.jobs import NewJob
from tests.dataloaders.snapshot.conftest import WORKER, Lived, frame_of, say_alive


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
    workers = (await agents_workers.collect(sources, frame_of(tenant))).workers

    [tile] = workers.workers
    assert (WORKER, "active", str(lived.processing), 2, 1) == (
        tile.id,
        tile.status,
        tile.current_task,
        tile.tasks_completed,
        tile.tasks_failed,
    )
    assert workers.performance.fastest_worker is not None
    assert WORKER == workers.performance.fastest_worker.id
    assert (1, None) == (workers.performance.active_workers, workers.performance.worker_efficiency)


async def test_a_worker_s_jobs_of_other_tenants_are_not_named(
    sources: Sources, database: Database, tenant: str, lived: Lived
) -> None:
    async with database.transaction("other") as tx:
        new = NewJob(user_id=None, source_url="https://videos.test/b", chain=("clipper",))
        foreign = (await jobs.add(tx, new)).id
    await say_alive(database, [foreign])
    [alone] = (await agents_workers.collect(sources, frame_of(tenant))).workers.workers
    await say_alive(database, [foreign, lived.processing])
    [both] = (await agents_workers.collect(sources, frame_of(tenant))).workers.workers

    assert (None, str(lived.processing)) == (alone.current_task, both.current_task)


def test_what_is_named_like_a_secret_is_hidden_at_any_depth() -> None:
    options = {"voice": "calm", "api_key": "abc", "smtp": {"Password": "hunter2", "host": "mail"}}

    assert {"voice": "calm", "api_key": HIDDEN, "smtp": {"Password": HIDDEN, "host": "mail"}} == shown(options)
