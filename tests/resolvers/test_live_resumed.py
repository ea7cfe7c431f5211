"""Going on from a cursor: what is not kept any more is said to be gone, and a replay skips nothing."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest
import sqlalchemy as sa

from db import events, retention
from db.database import Database, Transaction
from db.events import LAST, START, Cursor, Event
from db.models.records import events as rows
from db.redis import Redis
from resolvers.live import MAILBOX, Hub, ResyncReason, SlowConsumer
from tests.conftest import OTHER_TENANT
from tests.resolvers.hubs import KINDS, next_of, reading, running, told
from tests.waiting import until


class Unaware(Hub):
    """A hub that takes what is left of the record for all there ever was; the control."""

    async def bounds(self, tenant: str) -> tuple[Cursor, Cursor]:
        return START, (await super().bounds(tenant))[1]

    async def page(self, tenant: str, cursor: Cursor, *, most: int) -> tuple[list[Event], Cursor]:
        return (await super().page(tenant, cursor, most=most))[0], START


async def place_of(database: Database, tenant: str, entity: str) -> Cursor:
    """The cursor of the event about it."""
    async with database.transaction(tenant) as tx:
        [cursor] = [event.cursor for event in await events.after(tx, START) if event.entity_id == entity]
    return cursor


async def grow_old(database: Database, *entities: str) -> None:
    """Have time pass over some events, until they are not kept any more."""
    async with database.system() as tx:
        old = sa.update(rows).where(rows.c.entity_id.in_(entities))
        await tx.execute(old.values(created_at=sa.func.now() - retention.KEPT[rows] - sa.text("interval '1 s'")))
    await retention.drop_old_rows(database)


async def test_who_goes_on_from_before_what_is_kept_is_told_and_begins_here(
    database: Database, redis: Redis, tenant: str
) -> None:
    """The last event that was removed is the oldest one from which nothing is missing."""
    await told(database, tenant, "first", "removed", "kept")
    first, removed = [await place_of(database, tenant, name) for name in ("first", "removed")]
    await grow_old(database, "first", "removed")
    async with (
        running(database, redis) as hub,
        hub.listen(tenant, KINDS, after=first) as late,
        hub.listen(tenant, KINDS, after=removed) as in_time,
    ):
        await told(database, tenant, "new")

        assert (ResyncReason.TOO_OLD, None) == (late.resync, in_time.resync)
        assert late.position > in_time.position
        assert "new" == await next_of(late)
        assert ["kept", "new"] == [await next_of(in_time), await next_of(in_time)]


async def test_control_who_knows_no_floor_skips_events_without_a_word(
    database: Database, redis: Redis, tenant: str
) -> None:
    await told(database, tenant, "first", "removed", "kept")
    first = await place_of(database, tenant, "first")
    await grow_old(database, "first", "removed")
    async with running(database, redis, kind=Unaware) as hub, hub.listen(tenant, KINDS, after=first) as late:
        assert None is late.resync
        assert "kept" == await next_of(late)


async def test_that_events_of_one_tenant_were_removed_concerns_no_other(
    database: Database, redis: Redis, tenant: str
) -> None:
    await told(database, tenant, "ours")
    place = await place_of(database, tenant, "ours")
    await told(database, OTHER_TENANT, "theirs")
    await grow_old(database, "theirs")
    async with running(database, redis) as hub, hub.listen(tenant, KINDS, after=place) as heard:
        assert None is heard.resync


@pytest.mark.parametrize("cursor", [Cursor(LAST, LAST), Cursor(LAST, 0)])
async def test_a_cursor_of_what_never_was_is_no_reason_to_wait_for_ever(
    database: Database, redis: Redis, tenant: str, cursor: Cursor
) -> None:
    """As of another installation, or from before a database was set back. Control: a listener that believes it."""
    async with (
        running(database, redis) as hub,
        hub.listen(tenant, KINDS, after=cursor) as heard,
        hub.listen(tenant, KINDS) as believing,
    ):
        believing.position = cursor
        waiting = asyncio.ensure_future(next_of(believing))
        await told(database, tenant, "new")

        assert ResyncReason.UNKNOWN is heard.resync
        assert "new" == await next_of(heard)
        await until(lambda: not believing._mail)
        assert not waiting.done()
        waiting.cancel()


async def replayed_while_removed(
    database: Database, redis: Redis, tenant: str, kind: type[Hub]
) -> tuple[list[str], SlowConsumer | None]:
    """What somebody hears who goes on from an old cursor, one page at a time, while events are removed before them."""
    many = [f"job {number}" for number in range(2 * MAILBOX)]
    heard: list[str] = []
    async with running(database, redis, kind=kind) as hub:
        place = await hub.edge()
        await told(database, tenant, *many)
        async with hub.listen(tenant, KINDS, after=place) as slow:
            heard.append(await next_of(slow))
            await grow_old(database, *many)
            await told(database, tenant, "end")
            try:
                while heard[-1] != "end":
                    heard.append(await next_of(slow))
            except SlowConsumer as refusal:
                return heard, refusal
    return heard, None


async def test_a_slow_replay_is_not_overtaken_by_the_removal_of_events_unnoticed(
    database: Database, redis: Redis, tenant: str
) -> None:
    heard, refusal = await replayed_while_removed(database, redis, tenant, Hub)

    assert [f"job {number}" for number in range(MAILBOX)] == heard
    assert refusal is not None
    assert "events were removed from the record" in str(refusal)
    async with running(database, redis) as hub, hub.listen(tenant, KINDS, after=refusal.cursor) as again:
        assert ResyncReason.TOO_OLD is again.resync


async def test_control_a_replay_that_trusts_the_record_skips_what_was_removed(
    database: Database, redis: Redis, tenant: str
) -> None:
    heard, refusal = await replayed_while_removed(database, redis, tenant, Unaware)

    assert ([*(f"job {number}" for number in range(MAILBOX)), "end"], None) == (heard, refusal)


async def test_what_goes_while_the_last_page_is_read_is_in_it(
    database: Database, redis: Redis, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is read before what was removed is asked for: the other way round it would be empty, and nobody told."""
    few = ["0", "1", "2"]
    asked = 0

    async def floor(tx: Transaction) -> Cursor:
        nonlocal asked
        asked += 1
        found = await known(tx)
        if asked == 2:
            await grow_old(database, *few)
        return found

    known = events.floor
    async with running(database, redis) as hub:
        place = await hub.edge()
        monkeypatch.setattr(hub, "_look", _nothing)
        await told(database, tenant, *few)
        async with hub.listen(tenant, KINDS, after=place) as heard:
            monkeypatch.setattr(events, "floor", floor)

            assert few == [await next_of(heard) for _ in few]
    assert 2 == asked


async def test_a_process_that_was_away_for_longer_than_events_are_kept_says_so(
    database: Database, redis: Redis, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database, redis) as hub, hub.listen(tenant, KINDS) as heard:
        await told(database, tenant, "before")
        assert "before" == await next_of(heard)
        away = asyncio.Event()

        async def look() -> bool:
            away.set()
            return False

        monkeypatch.setattr(hub, "_look", look)
        # A look that had begun before would still hand out what is told now.
        await until(away.is_set)
        await told(database, tenant, "missed")
        await grow_old(database, "before", "missed")
        monkeypatch.undo()

        with pytest.raises(SlowConsumer) as refusal:
            await next_of(heard)
        assert heard.position == refusal.value.cursor


async def test_who_begins_after_what_was_removed_stays_when_others_who_missed_it_are_let_go(
    database: Database, redis: Redis, tenant: str
) -> None:
    """Else who has just been told to read everything anew would do so a second time, for nothing."""
    hub = Hub(database, redis)
    async with hub.listen(tenant, KINDS) as behind:
        await told(database, tenant, "gone")
        await grow_old(database, "gone")
        async with hub.listen(tenant, KINDS, after=behind.position) as here, reading(hub):
            with pytest.raises(SlowConsumer):
                await next_of(behind)
            await told(database, tenant, "next")

            assert (ResyncReason.TOO_OLD, "next") == (here.resync, await next_of(here))
    assert 1 == hub.dropped


@pytest.mark.parametrize("removed", [False, True])
async def test_what_is_read_for_who_leaves_meanwhile_does_not_concern_who_comes_next(
    database: Database, roomy: Database, redis: Redis, tenant: str, removed: bool
) -> None:
    """They are neither handed what happened before they came nor let go because it is gone."""
    handed: list[str] = []

    def wants(event: Event) -> bool:
        handed.append(event.entity_id)
        return True

    hub, left = Hub(roomy, redis), AsyncExitStack()
    await left.enter_async_context(hub.listen(tenant, KINDS))
    await told(database, tenant, "before")
    async with AsyncExitStack() as stack:
        async with database.system() as tx:
            await tx.execute(sa.text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
            await stack.enter_async_context(reading(hub))
            await until(lambda: kept_waiting(database))
            await left.aclose()
            heard = await stack.enter_async_context(hub.listen(tenant, KINDS, wants=wants))
            if removed:
                await tx.execute(sa.delete(rows))
        await told(database, tenant, "next")

        assert "next" == await next_of(heard)
    assert ["next"] == handed


async def kept_waiting(database: Database) -> bool:
    """Whether somebody waits for a lock of the events."""
    async with database.system() as tx:
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted"
        return bool(await tx.scalar(sa.text(waiting)))


async def _nothing() -> bool:
    return False


async def test_who_listens_to_something_rare_can_go_on_from_here_after_days(
    database: Database, redis: Redis, tenant: str
) -> None:
    """Control: the cursor of the last event that was heard lies before what is kept."""
    async with running(database, redis) as hub, hub.listen(tenant, KINDS) as everything:
        rare = hub.listen(tenant, KINDS, entity="rare")
        async with rare:
            await told(database, tenant, "rare", "common")
            heard = [await next_of(rare), await next_of(everything), await next_of(everything)]
            await grow_old(database, "rare", "common")
        async with (
            hub.listen(tenant, KINDS, after=rare.reached) as again,
            hub.listen(tenant, KINDS, after=rare.position) as control,
        ):
            assert (["rare", "rare", "common"], None) == (heard, again.resync)
            assert ResyncReason.TOO_OLD is control.resync


class Halting(Hub):
    """A hub that reads no page but its first until it is told to."""

    def __init__(self, database: Database, redis: Redis, *, patience_s: float) -> None:
        super().__init__(database, redis, patience_s=patience_s)
        self.pages = 0
        self.halted = asyncio.Event()
        self.on = asyncio.Event()

    async def page(self, tenant: str, cursor: Cursor, *, most: int) -> tuple[list[Event], Cursor]:
        self.pages += 1
        if self.pages == 2:
            self.halted.set()
            await self.on.wait()
        return await super().page(tenant, cursor, most=most)


async def test_who_stops_waiting_in_the_midst_of_a_replay_misses_nothing(
    database: Database, redis: Redis, tenant: str
) -> None:
    """As a transport does that says something itself when nothing comes for a while."""
    await told(database, tenant, "0", "1")
    async with running(database, redis, kind=Halting) as hub, hub.listen(tenant, KINDS) as everything:
        assert isinstance(hub, Halting)
        async with hub.listen(tenant, KINDS, after=START) as heard:
            waiting = asyncio.ensure_future(next_of(heard))
            await hub.halted.wait()
            await told(database, tenant, "2")
            assert "2" == await next_of(everything)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            hub.on.set()

            assert ["0", "1", "2"] == [await next_of(heard) for _ in range(3)]
