"""The way to the readers: one build for all of them, and an answer whatever becomes of Redis."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import sqlalchemy as sa

from dataloaders.snapshot import Snapshots, TimeRange, cache
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.whole import SECTIONS, Collect, Section, build
from db import keys
from db import snapshots as stored
from db.database import Database
from db.events import Kind
from db.models.records import events
from db.redis import Redis, connect
from tests.dataloaders.snapshot.conftest import Clock, Lived, Make, add_jobs
from tests.waiting import eventually, until


class Gateway:
    """Stands between a process and Valkey; it can hang like a pulled cable, or refuse like a machine that is off."""

    def __init__(self, redis: Redis) -> None:
        self._told = redis.connection_pool.connection_kwargs
        self._open = asyncio.Event()
        self._open.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        password = self._told.get("password")
        secret = f":{password}@" if password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/{self._told.get('db') or 0}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        """Accept, and pass nothing on in either direction."""
        self._open.clear()

    def recover(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        """Refuse, and drop whoever is there."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._tasks.clear()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if path := self._told.get("path"):
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        else:
            far_reader, far_writer = await asyncio.open_connection(self._told["host"], self._told["port"])
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pass_on(source, sink)))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                await self._open.wait()
                sink.write(chunk)
                await sink.drain()
        sink.close()


@pytest_asyncio.fixture
async def gateway(redis: Redis) -> AsyncIterator[Gateway]:
    gateway = Gateway(redis)
    await gateway.start()
    yield gateway
    gateway.recover()
    await gateway.stop()


@pytest_asyncio.fixture
async def far_redis(gateway: Gateway) -> AsyncIterator[Redis]:
    """Valkey as seen through the gateway."""
    async with connect(gateway.url) as client:
        # Answers are what is missed; a connection may take as long to be made and closed as a busy machine needs.
        client.connection_pool.connection_kwargs["socket_connect_timeout"] = 60
        yield client


async def jobs_shown(snapshots: Snapshots, tenant: str) -> int:
    shown = await snapshots.current(tenant)
    assert shown.dashboard is not None
    return shown.dashboard.jobs.total_jobs


async def version(snapshots: Snapshots, tenant: str) -> str:
    return (await snapshots.current(tenant)).envelope.version


async def announcements(database: Database, tenant: str) -> list[dict[str, Any]]:
    async with database.transaction(tenant) as tx:
        rows = await tx.rows(
            sa.select(events.c.payload).where(events.c.kind == Kind.SNAPSHOT_CHANGED).order_by(events.c.id)
        )
    return [payload for (payload,) in rows]


async def read_at_once(processes: list[Snapshots], tenant: str, readers: int) -> None:
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for process in processes:
            for _ in range(readers):
                group.create_task(process.current(tenant))


def builds(processes: list[Snapshots], tenant: str) -> int:
    return sum(process.state(tenant).builds for process in processes)


async def test_forty_readers_in_each_of_three_processes_cost_one_build_each_time(
    make_snapshots: Make, tenant: str, lived: Lived, clock: Clock
) -> None:
    processes = [make_snapshots() for _ in range(3)]

    for expected in (1, 2, 3):
        await read_at_once(processes, tenant, 40)

        await until(lambda wanted=expected: builds(processes, tenant) >= wanted)
        assert expected == builds(processes, tenant)
        clock.advance(16)


async def test_without_single_flight_each_reader_would_build(sources: Sources, tenant: str, lived: Lived) -> None:
    """The control: what the readers above would cost."""
    begun = 0

    async def counting(asked: Sources, frame: Frame) -> msgspec.Struct:
        nonlocal begun
        begun += 1
        return await SECTIONS[Section.LOGS](asked, frame)

    gate = asyncio.Semaphore(4)
    sections = {**SECTIONS, Section.LOGS: counting}
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(12):
            frame = Frame(tenant=tenant, time_range=TimeRange.DAY, now=datetime.now(UTC))
            group.create_task(build(sources, frame, last=None, gate=gate, sections=sections))

    assert 12 == begun


async def test_the_usual_key_holds_what_an_older_client_reads(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived
) -> None:
    await snapshots.current(tenant)

    told = json.loads(await redis.get("admin:dashboard:v4"))

    assert 8 == told["dashboard"]["queue"]["total"]
    assert 11 == told["agents_workers"]["agents"]["status"]["total_agents"]
    assert 0 < await redis.pttl("admin:dashboard:v4") <= 15_000


async def test_another_process_takes_what_is_there(make_snapshots: Make, tenant: str, lived: Lived) -> None:
    first, second = make_snapshots(), make_snapshots()

    assert await first.encoded(tenant) == await second.encoded(tenant)
    assert (1, 0) == (first.state(tenant).builds, second.state(tenant).builds)
    assert (0, 1) == (first.state(tenant).hits, second.state(tenant).hits)


async def test_past_its_freshness_it_is_served_while_the_next_one_is_built(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    old = await version(snapshots, tenant)
    await add_jobs(database, tenant, 1)
    clock.advance(6)

    served = await version(snapshots, tenant)
    assert old == served
    assert 9 == await eventually(lambda: jobs_shown(snapshots, tenant), lambda shown: shown == 9)


async def test_past_its_time_nobody_gets_the_old_one(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    await snapshots.current(tenant)
    await add_jobs(database, tenant, 1)
    clock.advance(16)

    assert 9 == await jobs_shown(snapshots, tenant)


async def test_a_change_that_is_told_of_is_shown_before_the_time_is_over(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    reader, changer = make_snapshots(), make_snapshots()
    assert 8 == await jobs_shown(reader, tenant)
    await add_jobs(database, tenant, 1)
    clock.advance(1.1)

    await changer.expire(tenant)

    assert 9 == await eventually(lambda: jobs_shown(reader, tenant), lambda shown: shown == 9)


async def test_a_burst_of_changes_costs_one_build_a_second(
    snapshots: Snapshots, tenant: str, lived: Lived, clock: Clock
) -> None:
    await snapshots.current(tenant)

    for _ in range(20):
        clock.advance(0.04)
        await snapshots.expire(tenant)
        await snapshots.current(tenant)

    assert 1 == snapshots.state(tenant).builds


async def test_rebuilding_shows_what_was_committed_before(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived
) -> None:
    await snapshots.current(tenant)
    await add_jobs(database, tenant, 2)

    anew = await snapshots.rebuild(tenant)

    assert anew.dashboard is not None
    assert 10 == anew.dashboard.jobs.total_jobs


async def test_a_key_that_was_deleted_by_hand_is_built_again(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived, clock: Clock
) -> None:
    old = await version(snapshots, tenant)
    await redis.delete("admin:dashboard:v4")
    clock.advance(1.1)

    assert await eventually(lambda: version(snapshots, tenant), lambda seen: seen != old)
    assert 1 == await redis.exists("admin:dashboard:v4")


async def test_a_snapshot_of_another_schema_is_never_read(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived, clock: Clock
) -> None:
    strange = {
        "envelope": {
            "schema": stored.SCHEMA + 1,
            "version": "of-tomorrow",
            "generated_at": clock.now + timedelta(seconds=1),
            "fresh_until": clock.now + timedelta(seconds=6),
            "expires_at": clock.now + timedelta(seconds=16),
        },
        "dashboard": "a word",
    }
    await redis.set("admin:dashboard:v4", msgspec.json.encode(strange), px=15_000)

    assert "of-tomorrow" != await version(snapshots, tenant)
    assert 8 == await jobs_shown(snapshots, tenant)


async def test_one_tenant_never_reads_anothers(
    make_snapshots: Make, database: Database, redis: Redis, tenant: str, lived: Lived
) -> None:
    await add_jobs(database, "other", 3)

    for process in (make_snapshots(), make_snapshots()):
        assert 8 == await jobs_shown(process, tenant)
        assert 3 == await jobs_shown(process, "other")
    assert {b"admin:dashboard:v4", b"admin:dashboard:v4:other"} == set(await redis.keys("admin:*"))


async def test_each_stretch_of_time_has_a_copy_of_its_own(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived
) -> None:
    for time_range in TimeRange:
        shown = await snapshots.current(tenant, time_range)

        assert shown.analytics is not None
        assert time_range == shown.analytics.time_range
    stretches = (b"", b"@1h", b"@7d", b"@30d")
    assert {b"admin:dashboard:v4" + each for each in stretches} == set(await redis.keys("admin:*"))


async def test_with_redis_hanging_the_own_copy_is_served_and_renewed(
    make_snapshots: Make,
    gateway: Gateway,
    far_redis: Redis,
    database: Database,
    tenant: str,
    lived: Lived,
    clock: Clock,
) -> None:
    snapshots = make_snapshots(redis=far_redis)
    await snapshots.current(tenant)
    gateway.hang()
    await add_jobs(database, tenant, 1)

    for _ in range(6):
        clock.advance(4)
        async with asyncio.timeout(60):
            await snapshots.current(tenant)

    assert 9 == await eventually(lambda: jobs_shown(snapshots, tenant), lambda shown: shown == 9)
    assert snapshots.state(tenant).redis_away


async def test_with_redis_hanging_from_the_start_it_is_built_here(
    make_snapshots: Make, gateway: Gateway, far_redis: Redis, tenant: str, lived: Lived
) -> None:
    gateway.hang()
    snapshots = make_snapshots(redis=far_redis)

    await read_at_once([snapshots], tenant, 40)

    assert 1 == snapshots.state(tenant).builds


async def test_with_redis_off_nobody_sees_an_error_and_afterwards_it_is_used_again(
    make_snapshots: Make, gateway: Gateway, redis: Redis, tenant: str, lived: Lived, clock: Clock
) -> None:
    # It is off and not slow: so patient, nobody takes a busy machine for one that is.
    async with connect(gateway.url, answer_timeout_s=60) as far_redis:
        snapshots = make_snapshots(redis=far_redis)
        await gateway.stop()
        await read_at_once([snapshots], tenant, 10)
        assert snapshots.state(tenant).redis_away
        assert 0 == await redis.exists("admin:dashboard:v4")

        await gateway.start()
        clock.advance(16)
        await snapshots.current(tenant)

    assert not snapshots.state(tenant).redis_away
    assert 1 == await redis.exists("admin:dashboard:v4")


async def test_a_builder_that_died_holds_up_nobody_for_long(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is still there; whoever has waited long enough builds by itself, and leaves the lock alone."""
    monkeypatch.setattr(cache, "WAIT", timedelta(seconds=0.2))
    slot = slot_of(tenant, TimeRange.DAY)
    await redis.set(keys.snapshot_lock(slot.key), "somebody else's", px=3_600_000)

    async with asyncio.timeout(60):
        assert 8 == await jobs_shown(snapshots, tenant)

    assert b"somebody else's" == await redis.get(keys.snapshot_lock(slot.key))


async def test_warming_announces_what_has_changed_and_nothing_else(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    await snapshots.warm_all()
    [first] = await announcements(database, tenant)
    await add_jobs(database, tenant, 1)
    clock.advance(5)

    await snapshots.warm_all()

    second = (await announcements(database, tenant))[1]
    assert set(Section) == set(first["sections"])
    assert {Section.DASHBOARD, Section.QUEUE, Section.AGENTS_WORKERS} <= set(second["sections"])
    assert set() == {Section.LOGS, Section.CONFIGURATION} & set(second["sections"])
    assert await version(snapshots, tenant) == second["version"]


async def test_what_a_reader_built_is_announced_by_the_next_warming(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    warmer, reader = make_snapshots(), make_snapshots()
    await warmer.warm_all()
    await add_jobs(database, tenant, 1)
    clock.advance(4)
    await reader.rebuild(tenant)

    await warmer.warm_all()

    assert Section.QUEUE in (await announcements(database, tenant))[1]["sections"]
    assert 1 == warmer.state(tenant).builds


async def test_many_who_warm_at_once_cost_one_build(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived
) -> None:
    processes = [make_snapshots() for _ in range(3)]

    async with asyncio.TaskGroup() as group:
        for process in processes:
            group.create_task(process.warm_all())

    assert 1 == builds(processes, tenant)
    assert 1 == len(await announcements(database, tenant))


async def test_only_what_is_read_is_kept_warm(
    snapshots: Snapshots, redis: Redis, tenant: str, lived: Lived, clock: Clock
) -> None:
    await snapshots.warm_all()
    unread = await redis.exists(keys.snapshot("other"))
    await snapshots.current("other")
    await redis.delete(keys.snapshot("other"))
    clock.advance(6)

    await snapshots.warm_all()

    assert 0 == unread
    assert 1 == await redis.exists(keys.snapshot("other"))


async def test_with_redis_off_there_is_nothing_to_warm(
    make_snapshots: Make, gateway: Gateway, far_redis: Redis, tenant: str, lived: Lived
) -> None:
    await gateway.stop()
    snapshots = make_snapshots(redis=far_redis)

    await snapshots.warm_all()

    assert 0 == snapshots.state(tenant).builds


async def test_its_state_says_how_this_process_stands(
    snapshots: Snapshots, tenant: str, lived: Lived, clock: Clock
) -> None:
    before = snapshots.state(tenant)
    await snapshots.current(tenant)
    await snapshots.current(tenant)
    clock.advance(7)

    after = snapshots.state(tenant)

    assert (None, None, False) == (before.version, before.age_s, before.fresh)
    assert (7.0, False, 1, 1, 1) == (after.age_s, after.fresh, after.hits, after.misses, after.builds)
    assert (None, False, []) == (after.last_error, after.redis_away, after.stale)


async def test_a_snapshot_is_expired_once_nothing_in_it_could_be_collected_for_as_long_as_it_is_kept(
    make_snapshots: Make, clock: Clock, tenant: str
) -> None:
    broken: set[Section] = set()

    def breakable(name: Section) -> Collect:
        async def collect(sources: Sources, frame: Frame) -> msgspec.Struct:
            if name in broken:
                raise LookupError(name)
            return await SECTIONS[name](sources, frame)

        return collect

    snapshots = make_snapshots(sections={name: breakable(name) for name in SECTIONS})
    whole = await snapshots.state_for_readers(tenant)
    broken |= set(Section)
    clock.advance(14)
    await snapshots.rebuild(tenant)
    young = await snapshots.state_for_readers(tenant)
    clock.advance(2)
    await snapshots.rebuild(tenant)
    old = await snapshots.state_for_readers(tenant)
    broken.remove(Section.LOGS)
    await snapshots.rebuild(tenant)
    partly = await snapshots.state_for_readers(tenant)

    assert [False, False, True, False] == [state.expired for state in (whole, young, old, partly)]
    assert [0, 7, 7, 6] == [len(state.stale) for state in (whole, young, old, partly)]


async def test_where_nothing_was_ever_asked_for_there_is_none(snapshots: Snapshots, tenant: str) -> None:
    state = snapshots.state(tenant)

    assert (None, None, True, False) == (state.version, state.age_s, state.expired, state.fresh)


async def test_a_reader_is_told_whether_it_has_waited(snapshots: Snapshots, clock: Clock, tenant: str) -> None:
    first, second = await snapshots.found(tenant), await snapshots.found(tenant)
    clock.advance(20)
    third = await snapshots.found(tenant)

    assert [False, True, False] == [found.hit for found in (first, second, third)]
    assert first.bodies is second.bodies
    assert first.bodies is not third.bodies
