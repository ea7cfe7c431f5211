"""Seeded history: the same for a seed, true to itself, of one tenant alone, and quick."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from db import seed, users
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus

CHAIN = ("video-downloader", "video-analyzer", "moment-detector", "clipper")
NOW = datetime(2031, 5, 4, 12, 30, tzinfo=UTC)
TABLES = ("users", "uploads", "jobs", "processing_steps", "clips", "system_events", "logs")


async def fill(database: Database, tenant: str, *, jobs: int = 40, number: int = 7) -> seed.Seeded:
    return await seed.fill(database, tenant, jobs=jobs, events=20, chain=CHAIN, seed=number, now=NOW)


async def fingerprint(database: Database, tenant: str) -> dict[str, str]:
    """A digest of every row of every seeded table, ids and times included."""
    async with database.transaction(tenant) as tx:
        return {
            table: await tx.scalar(sa.text(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"))
            for table in TABLES
        }


async def rows(database: Database, tenant: str, statement: str) -> list[tuple[Any, ...]]:
    async with database.transaction(tenant) as tx:
        return list(await tx.rows(sa.text(statement)))


async def test_the_same_seed_gives_the_same_rows(database: Database, tenant: str) -> None:
    await fill(database, tenant)
    first = await fingerprint(database, tenant)
    await seed.clear(database, tenant)
    await fill(database, tenant)

    assert first == await fingerprint(database, tenant)
    assert None not in first.values()


async def test_another_seed_gives_other_rows(database: Database, tenant: str) -> None:
    await fill(database, tenant)
    first = await fingerprint(database, tenant)
    await seed.clear(database, tenant)
    await fill(database, tenant, number=8)

    second = await fingerprint(database, tenant)
    assert ["users"] == [table for table in TABLES if first[table] == second[table]]


async def test_the_same_seed_fits_into_two_tenants(database: Database, tenant: str) -> None:
    """Ids are unique over all tenants, so the tenant takes part in making them."""
    await fill(database, tenant)
    made = await fill(database, "other")

    assert 40 == made.jobs
    assert [(40,)] == await rows(database, tenant, "SELECT count(*) FROM jobs")
    assert [(40,)] == await rows(database, "other", "SELECT count(*) FROM jobs")


async def test_what_is_told_is_what_was_written(database: Database, tenant: str) -> None:
    told: list[int] = []
    made = await seed.fill(database, tenant, jobs=25, events=100, chain=CHAIN, seed=1, now=NOW, progress=told.append)

    for table, count in (
        ("jobs", made.jobs),
        ("processing_steps", made.steps),
        ("clips", made.clips),
        ("uploads", made.uploads),
        ("system_events", made.system_events),
        ("logs", made.logs),
        ("users", made.users),
    ):
        assert [(count,)] == await rows(database, tenant, f"SELECT count(*) FROM {table}"), table
    assert (25, 100, 100, 100) == (made.jobs, made.steps, made.system_events, made.logs)
    assert [25] == told


async def test_even_a_short_history_has_jobs_in_every_status(database: Database, tenant: str) -> None:
    await fill(database, tenant, jobs=5)

    found = await rows(database, tenant, "SELECT status FROM jobs")
    assert set(JobStatus) == {JobStatus(status) for (status,) in found}


async def test_steps_fit_the_status_of_their_job(database: Database, tenant: str) -> None:
    await fill(database, tenant, jobs=200)

    allowed = {
        "completed": {"completed", "skipped"},
        "failed": {"completed", "skipped", "failed", "pending"},
        "cancelled": {"completed", "skipped", "cancelled"},
        "queued": {"pending"},
        "processing": {"completed", "skipped", "processing", "pending"},
    }
    found = await rows(
        database,
        tenant,
        "SELECT j.status, array_agg(s.status::text ORDER BY s.ordinal), array_agg(s.agent_id ORDER BY s.ordinal), "
        "j.current_step FROM jobs j JOIN processing_steps s ON s.job_id = j.id GROUP BY j.id",
    )
    assert 200 == len(found)
    for status, steps, agents, current in found:
        assert set(steps) <= allowed[status]
        assert list(CHAIN) == agents
        for running in ("processing", "failed"):
            assert (status == running) is (steps.count(running) == 1)
            assert status != running or current == agents[steps.index(running)]


async def test_times_run_forward_and_nothing_lies_in_the_future(database: Database, tenant: str) -> None:
    await fill(database, tenant, jobs=200)

    wrong = await rows(
        database,
        tenant,
        "SELECT id FROM jobs WHERE created_at > coalesce(started_at, created_at) "
        "OR coalesce(started_at, created_at) > coalesce(completed_at, started_at, created_at) "
        f"OR greatest(created_at, started_at, completed_at, updated_at) > '{NOW.isoformat()}' "
        f"OR created_at < '{(NOW - timedelta(days=30)).isoformat()}' "
        "UNION ALL SELECT s.id FROM processing_steps s JOIN jobs j ON j.id = s.job_id "
        f"WHERE s.finished_at < s.started_at OR s.started_at < j.started_at OR s.finished_at > '{NOW.isoformat()}' "
        f"UNION ALL SELECT id FROM logs WHERE created_at > '{NOW.isoformat()}' "
        f"UNION ALL SELECT id FROM system_events WHERE created_at > '{NOW.isoformat()}'",
    )
    assert [] == wrong


async def test_clips_belong_to_completed_jobs_and_their_reasons_add_up(database: Database, tenant: str) -> None:
    made = await fill(database, tenant, jobs=100)

    found = await rows(
        database,
        tenant,
        "SELECT j.status, c.score, (SELECT sum((r->>'points')::float) FROM jsonb_array_elements(c.reasons) r), "
        "c.end_s - c.start_s, c.duration_s FROM clips c JOIN jobs j ON j.id = c.job_id",
    )
    assert made.clips == len(found) >= 50
    for status, score, points, long, duration in found:
        assert "completed" == status
        assert pytest.approx(score, abs=0.05) == points
        assert pytest.approx(duration, abs=0.01) == long


async def test_no_worker_would_start_on_a_video_that_does_not_exist(database: Database, tenant: str) -> None:
    await fill(database, tenant, jobs=200)

    due = await rows(
        database,
        tenant,
        f"SELECT id FROM jobs WHERE status = 'queued' AND run_at < '{(NOW + timedelta(days=7)).isoformat()}' "
        "OR status = 'processing' AND attempt < max_attempts",
    )
    assert [] == due


async def test_no_agent_is_kept_busy_twice(database: Database, tenant: str) -> None:
    """An agent has few places; a history must not take them from real jobs."""
    await fill(database, tenant, jobs=400)

    busy = await rows(database, tenant, "SELECT agent_id FROM processing_steps WHERE status = 'processing'")
    assert sorted((agent,) for agent in CHAIN) == sorted(busy)


async def test_the_counters_agree_with_the_jobs(database: Database, tenant: str) -> None:
    await fill(database, tenant, jobs=60)

    counted = await rows(database, tenant, "SELECT status::text, sum(jobs)::int FROM job_gauges GROUP BY 1 ORDER BY 1")
    assert counted == await rows(database, tenant, "SELECT status::text, count(*)::int FROM jobs GROUP BY 1 ORDER BY 1")


async def test_clearing_keeps_people_agents_and_the_other_tenant(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        kept = await users.add(
            tx, tenant=tenant, email="real@example.com", name="Real", role=Role.USER, password_hash=None
        )
    agents = await rows(database, tenant, "SELECT count(*) FROM agents")
    await fill(database, tenant)
    # One that was locked out is not to come back, and would if it were removed and made again.
    async with database.transaction(tenant) as tx:
        await tx.execute(sa.text("UPDATE users SET disabled_at = now() WHERE email LIKE 'ada@%'"))
    people = await rows(database, tenant, "SELECT id, disabled_at FROM users ORDER BY id")
    await fill(database, "other")
    before = await fingerprint(database, "other")

    assert 40 == await seed.clear(database, tenant)

    for table in ("jobs", "processing_steps", "clips", "uploads", "system_events", "logs", "events", "job_hours"):
        assert [(0,)] == await rows(database, tenant, f"SELECT count(*) FROM {table}"), table
    assert kept is not None
    assert kept.id in [found for found, _ in people]
    assert people == await rows(database, tenant, "SELECT id, disabled_at FROM users ORDER BY id")
    assert agents == await rows(database, tenant, "SELECT count(*) FROM agents")
    assert before == await fingerprint(database, "other")


@pytest.mark.benchmark
async def test_a_hundred_thousand_jobs_take_less_than_a_minute(database: Database, tenant: str) -> None:
    """With as many steps as the usual chain has."""
    chain = [f"agent-{number}" for number in range(10)]
    began = time.perf_counter()
    made = await seed.fill(database, tenant, jobs=100_000, events=100, chain=chain, seed=7, now=NOW)
    took = time.perf_counter() - began

    print(f"\nseed: {made.jobs} jobs, {made.steps} steps, {made.clips} clips in {took:.1f} s; budget 60 s")
    assert took < 60
