"""What is told of an announcement is the version that was announced, whatever this process holds."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from dataloaders.snapshot import Snapshots, TimeRange
from dataloaders.snapshot.announcements import Announcements
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.encodings import Encoder
from dataloaders.snapshot.versions import Copy, Versions
from dataloaders.snapshot.whole import Section, made_ms
from db import keys
from db.database import Database
from db.events import Kind
from db.models.records import events
from db.redis import Redis
from db.snapshots import Slot
from tests.dataloaders.snapshot.conftest import Clock, Lived, Make, add_jobs
from tests.dataloaders.snapshot.test_cache import announcements as events_of
from tests.dataloaders.snapshot.test_patches import copy_of
from tests.waiting import until

SLOT = slot_of("default", TimeRange.DAY)
WEEK = slot_of("default", TimeRange.WEEK)


async def announced(warmer: Snapshots, database: Database, clock: Clock, *, jobs: int = 1) -> dict[str, Any]:
    """Have something change, and told of; the payload of its event."""
    await add_jobs(database, "default", jobs)
    clock.advance(5)
    await warmer.warm_all()
    return (await events_of(database, "default"))[-1]


async def test_what_was_announced_is_told_and_not_what_this_process_holds(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    """One of them holds an older one, one a newer one, one none."""
    warmer, behind, ahead, new = (make_snapshots() for _ in range(4))
    await behind.current(tenant)
    told = await announced(warmer, database, clock)
    await add_jobs(database, tenant, 5)
    clock.advance(5)
    await ahead.rebuild(tenant)

    for process in (warmer, behind, ahead, new):
        copy = await process.announcements.of(SLOT, told["version"])
        assert copy.snapshot.dashboard is not None
        assert (told["version"], 9) == (copy.envelope.version, copy.snapshot.dashboard.jobs.total_jobs)


async def test_it_is_decoded_once(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    told = await announced(make_snapshots(), database, clock)
    reader = make_snapshots()

    copies = await asyncio.gather(*(reader.announcements.of(SLOT, told["version"]) for _ in range(20)))

    assert 1 == len({id(copy.snapshot) for copy in copies})


async def test_one_that_is_forgotten_is_told_as_the_newest_that_was_announced(
    make_snapshots: Make, database: Database, tenant: str, redis: Redis, lived: Lived, clock: Clock
) -> None:
    warmer, reader = make_snapshots(), make_snapshots()
    first = await announced(warmer, database, clock)
    second = await announced(warmer, database, clock)
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hdel(keys.snapshot_versions(SLOT.about)[1], first["version"])
        await pipe.execute()
    clock.advance(5)
    await reader.rebuild(tenant)

    assert second["version"] == (await reader.announcements.of(SLOT, first["version"])).envelope.version


async def test_what_was_announced_before_it_is_not_told_in_its_place(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    """A process of an older release keeps none of those that it announces."""
    warmer = make_snapshots()
    kept = await announced(warmer, database, clock)
    await add_jobs(database, tenant, 1)
    clock.advance(5)
    await warmer.rebuild(tenant)
    newer = (await warmer.found(tenant)).envelope.version
    unkept = f"{made_ms(newer) - 1:x}-of-an-older-release"

    assert newer == (await make_snapshots().announcements.of(SLOT, unkept)).envelope.version != kept["version"]


async def test_one_that_is_known_nowhere_yet_is_waited_for(redis: Redis) -> None:
    """Redis was emptied after it was announced: this process serves the one before, for another moment."""
    before, after = _copy("19a"), _copy("19f")
    serving = [before]
    asked = asyncio.Event()

    async def current(_: Slot) -> Copy:
        asked.set()
        return serving[-1]

    announcements = Announcements(_forgetful(redis), current, patience_s=60)
    telling = asyncio.create_task(announcements.of(SLOT, "19f-x"))
    await asked.wait()
    early = telling.done()
    serving.append(after)

    assert (False, after) == (early, await telling)


async def test_it_is_waited_for_no_longer_than_somebody_has_patience(redis: Redis) -> None:
    before = _copy("19a")

    async def current(_: Slot) -> Copy:
        return before

    told = Announcements(_forgetful(redis), current, patience_s=0.05)

    assert before is await told.of(SLOT, "19f-x")
    assert before is await told.of(SLOT, "199-x")
    assert before is await told.of(SLOT, None)


async def test_where_nothing_was_announced_the_newest_is_what_there_is(
    snapshots: Snapshots, tenant: str, lived: Lived
) -> None:
    newest = await snapshots.announcements.newest(SLOT)

    held = await snapshots.found(tenant)
    assert (held.envelope.version, [held.envelope.version]) == (newest.copy.envelope.version, [*newest.passed])


async def test_the_newest_stands_for_those_before_it(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    """So that none of them is told after it."""
    warmer, reader = make_snapshots(), make_snapshots()
    versions = [(await announced(warmer, database, clock))["version"] for _ in range(2)]

    newest = await reader.announcements.newest(SLOT)

    assert (versions[-1], {*versions}) == (newest.copy.envelope.version, {*newest.passed})


async def test_nobody_is_told_an_older_version_than_one_that_was_never_announced(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    warmer = make_snapshots()
    told = (await announced(warmer, database, clock))["version"]
    clock.advance(6)
    read = (await warmer.rebuild(tenant)).envelope.version

    newest = await warmer.announcements.newest(SLOT, than=read)

    assert (read, {told, read}) == (newest.copy.envelope.version, {*newest.passed})


async def test_who_holds_a_version_is_told_what_is_other_than_in_it(
    make_snapshots: Make, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    """Of one that nobody knows any more everything is; of the one they hold there is nothing to tell."""
    warmer, reader = make_snapshots(), make_snapshots()
    first = await announced(warmer, database, clock)
    second = await announced(warmer, database, clock)
    newest = await reader.announcements.of(SLOT, second["version"])

    told = await reader.announcements.since(SLOT, first["version"], newest)
    whole = await reader.announcements.since(SLOT, "unknown", newest)

    assert told is not None
    assert whole is not None
    assert (second["version"], sorted(second["sections"])) == (told.version, sorted(told.sections))
    assert [first["version"]] == [version for version, _ in told.before]
    assert (second["version"], {*Section}, []) == (whole.version, {*whole.sections}, whole.before)
    assert None is await reader.announcements.since(SLOT, second["version"], newest)


async def test_an_event_says_which_versions_were_told_before_it(
    snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    first, second, third = [await announced(snapshots, database, clock) for _ in range(3)]

    assert [] == first["before"]
    assert [[first["version"], sorted(Section)]] == second["before"]
    assert [second["version"], sorted(second["sections"])] == third["before"][0]
    assert [first["version"], sorted(set(Section) - set(second["sections"]))] == third["before"][1]


@pytest.mark.parametrize("followed", [True, False])
async def test_another_stretch_of_time_is_announced_while_somebody_follows_it(
    followed: bool, snapshots: Snapshots, database: Database, tenant: str, redis: Redis, lived: Lived, clock: Clock
) -> None:
    """Not followed, it is built when it is read, and nobody is told: that would cost a build every five seconds."""
    if followed:
        async with snapshots.followers.of(WEEK):

            async def noted() -> bool:
                return bool(await redis.exists(keys.snapshot_read(WEEK.about)))

            await until(noted)
            await snapshots.warm_all()
    else:
        await snapshots.current(tenant, TimeRange.WEEK)
        await snapshots.warm_all()

    expected = {SLOT.about, WEEK.about} if followed else {SLOT.about}
    async with database.transaction(tenant) as tx:
        rows = await tx.rows(sa.select(events.c.entity_id).where(events.c.kind == Kind.SNAPSHOT_CHANGED))
    assert expected == {about for (about,) in rows}
    versions = {about: await snapshots.versions.announced(slot) for about, slot in (("d", SLOT), ("w", WEEK))}
    assert (1, followed) == (len(versions["d"].kept), bool(versions["w"].kept))


def _forgetful(redis: Redis) -> Versions:
    """As after Redis was emptied: none is known."""
    return Versions(redis, Encoder(), away=lambda: True)


def _copy(hexadecimal: str) -> Copy:
    return copy_of(f"{hexadecimal}-x", {})
