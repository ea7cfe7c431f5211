"""The whole: every key that clients know, every figure true, and one failing section never the others' trouble."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dataloaders.snapshot import Snapshots, whole
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.whole import SECTIONS, Section, Snapshot, build, digests_of
from db import keys, users
from db.database import Database, DatabaseUnavailable
from db.redis import Redis
from tests.dataloaders.snapshot.conftest import Clock, Lived, Make, add_jobs

SHAPE = (Path(__file__).parent / "shape.txt").read_text().splitlines()
KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "list": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
}
TIMES = ("timestamp", "_at", "heartbeat", "last_seen", "last_activity", "last_updated", "hour")


def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(4)


def found(value: Any, steps: list[str]) -> Iterator[Any]:
    """Everything that lies at a path; nothing below a null or in an empty list, KeyError for a key that is missing."""
    if not steps or value is None:
        yield value
        return
    inner = value[steps[0].removesuffix("[]")]
    for item in inner or [] if steps[0].endswith("[]") else [inner]:
        yield from found(item, steps[1:])


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    else:
        yield name, value


def fits(value: Any, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and not (kind == "number" and isinstance(value, bool))


async def rename(database: Database, table: str, name: str) -> None:
    """As the owner of the tables, whom no section acts as."""
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f'ALTER TABLE "{table}" RENAME TO "{name}"'))


async def test_every_key_that_clients_know_is_there_with_its_type_or_null(
    snapshots: Snapshots, tenant: str, lived: Lived
) -> None:
    """`shape.txt` has a line for each: path, type, and ? where nothing is measured here, ~ where that depends."""
    told = json.loads(await snapshots.encoded(tenant))

    wrong, unknown = [], []
    for line in SHAPE:
        path, kind, mark, *_ = [*line.split(), ""]
        values = [value for value in found(told, path.split(".")) if value is not None]
        wrong += [(path, kind, value) for value in values if not fits(value, kind)]
        if mark != "~" and bool(values) == (mark == "?"):
            unknown.append(path)
    assert [] == wrong
    assert [] == unknown


async def test_every_time_is_utc_and_says_so(snapshots: Snapshots, tenant: str, lived: Lived) -> None:
    told = json.loads(await snapshots.encoded(tenant))

    times = [value for name, value in leaves(told) if isinstance(value, str) and name.endswith(TIMES)]
    assert len(times) > 100
    assert [] == [time for time in times if not time.endswith("Z") or datetime.fromisoformat(time).tzinfo is None]


async def test_what_is_encoded_is_what_is_decoded(snapshots: Snapshots, tenant: str, lived: Lived) -> None:
    whole_one = await snapshots.current(tenant)

    again = json.loads(await snapshots.encoded(tenant))

    assert whole_one.envelope.version == again["envelope"]["version"]
    assert "success" == whole_one.status == again["status"]
    assert [] == whole_one.stale


async def test_a_failing_section_keeps_its_last_value_and_is_named(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    before = await snapshots.current(tenant)
    await rename(database, "logs", "elsewhere")
    clock.advance(60)

    after = await snapshots.rebuild(tenant)

    assert before.logs is not None
    assert before.logs == after.logs
    assert [(Section.LOGS, before.logs.timestamp)] == [(stale.section, stale.since) for stale in after.stale]
    assert "partial" == after.status
    assert after.dashboard is not None
    assert clock.now == after.dashboard.timestamp == after.envelope.generated_at


async def test_what_failed_says_nothing_of_the_database(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived
) -> None:
    await rename(database, "logs", "elsewhere")

    [stale] = (await snapshots.current(tenant)).stale

    assert "it could not be collected" == stale.reason


async def test_a_section_without_any_last_value_is_null_and_nothing_is_cached(
    snapshots: Snapshots, database: Database, redis: Redis, tenant: str, lived: Lived
) -> None:
    await rename(database, "logs", "elsewhere")

    partial = await snapshots.current(tenant)
    cached_meanwhile = await redis.exists(keys.snapshot(tenant))
    await rename(database, "elsewhere", "logs")
    whole_again = await snapshots.current(tenant)

    assert partial.logs is None
    assert [(Section.LOGS, None)] == [(stale.section, stale.since) for stale in partial.stale]
    assert 0 == cached_meanwhile
    assert whole_again.logs is not None
    assert 1 == await redis.exists(keys.snapshot(tenant))


async def test_a_tenant_whose_agents_are_not_there_yet_is_shown_but_not_cached(
    snapshots: Snapshots, database: Database, redis: Redis
) -> None:
    """0 of 0 agents, cached, was shown for as long as it lasted although the agents were there a moment later."""
    async with database.system() as tx:
        await users.ensure_tenant(tx, "bare")

    shown = await snapshots.current("bare")

    assert shown.agents_workers is not None
    assert 0 == shown.agents_workers.agents.status.total_agents
    assert 0 == await redis.exists(keys.snapshot("bare"))


async def test_a_section_past_its_deadline_gives_way(
    sources: Sources, frame: Frame, lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: Sources, __: Frame) -> Any:
        await asyncio.Event().wait()

    complete = await build(sources, frame, last=None, gate=gate())
    monkeypatch.setattr(whole, "DEADLINE_S", 0.2)

    built = await build(
        sources, frame, last=complete.snapshot, gate=gate(), sections={**SECTIONS, Section.QUEUE: never}
    )

    assert Section.QUEUE in {stale.section for stale in built.snapshot.stale}
    assert complete.snapshot.queue == built.snapshot.queue


async def test_data_that_a_section_did_not_expect_fails_it_alone(sources: Sources, frame: Frame, lived: Lived) -> None:
    async def surprised(_: Sources, __: Frame) -> Any:
        raise ValueError("not a number")

    built = await build(sources, frame, last=None, gate=gate(), sections={**SECTIONS, Section.ANALYTICS: surprised})

    assert [Section.ANALYTICS] == [stale.section for stale in built.snapshot.stale]
    assert built.snapshot.analytics is None
    assert not built.complete


async def test_with_no_section_at_all_it_says_that_the_database_is_away(make_snapshots: Make, tenant: str) -> None:
    nowhere = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    snapshots = make_snapshots(database=nowhere)

    with pytest.raises(DatabaseUnavailable):
        await snapshots.current(tenant)

    assert snapshots.state(tenant).last_error is not None
    await nowhere.close()


async def test_digests_differ_just_where_something_happened(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    before = digests_of(await snapshots.current(tenant))
    clock.advance(1)
    await add_jobs(database, tenant, 1)

    after = digests_of(await snapshots.rebuild(tenant))

    same = {name for name in Section if before[name] == after[name]}
    assert {Section.LOGS, Section.CONFIGURATION} == same & {
        Section.LOGS,
        Section.CONFIGURATION,
        Section.DASHBOARD,
        Section.QUEUE,
        Section.AGENTS_WORKERS,
    }


async def test_the_sections_of_one_build_show_the_same_numbers(snapshots: Snapshots, tenant: str, lived: Lived) -> None:
    one: Snapshot = await snapshots.current(tenant)

    assert one.dashboard is not None
    assert one.queue is not None
    assert one.dashboard.queue.jobs_breakdown == one.queue.jobs_breakdown
    assert one.dashboard.jobs.recent_jobs == one.queue.job_history
