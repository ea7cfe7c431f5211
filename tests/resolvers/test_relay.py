"""The relay: whatever becomes of it or of Redis, who listens hears every event, once, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import pytest

from db import events, keys
from db.database import Database
from db.events import Kind
from db.redis import Redis, connect
from resolvers.live import Hub, Listener
from resolvers.relay import Relay
from tests.resolvers.hubs import KINDS
from tests.waiting import until

MANY = 300
PATIENCE_S = 60.0
"""For a listener who takes nothing while many events are told."""


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No relay loses its place because the machine pauses for some seconds."""
    monkeypatch.setattr("db.streams.EPOCH_LASTS", timedelta(minutes=1))


@asynccontextmanager
async def running(*parts: Hub | Relay) -> AsyncIterator[None]:
    """Hubs and relays at work until the block ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.run()) for part in parts]
        yield
        for task in tasks:
            task.cancel()


async def told(database: Database, *names: str, tenant: str = "default", owner: UUID | None = None) -> None:
    async with database.transaction(tenant) as tx:
        for name in names:
            await events.record(tx, Kind.JOB_CHANGED, name, {}, owner=owner)


async def heard(listener: Listener, count: int) -> list[str]:
    async with asyncio.timeout(20):
        return [(await anext(listener)).entity_id for _ in range(count)]


def reads_of(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For whom a hub reads what is on record, from now on."""
    reads: list[str] = []
    recorded = hub._recorded

    async def counted(tenant: str, *given: object) -> bool:
        reads.append(tenant)
        return await recorded(tenant, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "_recorded", counted)
    return reads


@pytest.mark.usefixtures("steady")
async def test_events_come_through_the_streams(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL is asked by the relay alone, however many processes listen."""
    hubs, relay = [Hub(database, redis) for _ in range(3)], Relay(database, redis)
    async with running(*hubs, relay), AsyncExitStack() as stack:
        await until(lambda: relay.leading)
        listeners = [await stack.enter_async_context(hub.listen("default", KINDS)) for hub in hubs]
        await told(database, "first")
        assert [["first"]] * 3 == [await heard(listener, 1) for listener in listeners]
        await until(lambda: all(hub._followed["default"].epoch is not None for hub in hubs))
        reads = [reads_of(hub, monkeypatch) for hub in hubs]

        await told(database, "second", "third")

        assert [["second", "third"]] * 3 == [await heard(listener, 2) for listener in listeners]
        assert [[], [], []] == reads


@pytest.mark.usefixtures("steady")
async def test_one_of_several_relays_and_the_next_takes_its_place(database: Database, redis: Redis) -> None:
    hub, relays = Hub(database, redis), [Relay(database, redis) for _ in range(3)]
    names = [f"job {number}" for number in range(6)]
    async with running(hub), hub.listen("default", KINDS) as listener, AsyncExitStack() as stack:
        works = [await stack.enter_async_context(_task(relay)) for relay in relays]
        for name in names:
            await until(lambda: any(relay.leading for relay in relays))
            assert 1 == sum(relay.leading for relay in relays)
            await told(database, name)
            [leading] = [number for number, relay in enumerate(relays) if relay.leading]
            works[leading].cancel()
            await asyncio.wait([works[leading]])
            works[leading] = await stack.enter_async_context(_task(relays[leading]))

        assert names == await heard(listener, 6)


@asynccontextmanager
async def _task(relay: Relay) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(relay.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def emptied_while_told(database: Database, redis: Redis, hub: Hub, relay: Relay) -> list[str]:
    """What is heard of many events while Redis is emptied again and again."""
    async with running(hub, relay), hub.listen("default", KINDS) as listener:
        await until(lambda: relay.leading)
        for number in range(MANY):
            await told(database, f"job {number}")
            if number % 10 == 9:
                await redis.flushall()
        found: list[str] = []
        while "end" not in found:
            # It may be emptied away as well, where that is what happens: then the next one is heard.
            await told(database, "end")
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while "end" not in found:
                        found.append((await anext(listener)).entity_id)
    return found[:-1]


async def test_emptying_redis_loses_no_event(database: Database, redis: Redis) -> None:
    found = await emptied_while_told(
        database, redis, Hub(database, redis, patience_s=PATIENCE_S), Relay(database, redis)
    )

    assert [f"job {number}" for number in range(MANY)] == found


class Trusting(Hub):
    """A hub as most are built: what is in the stream is all there is."""

    async def _look(self) -> bool:
        relayed = await self._streamed({tenant: each.position for tenant, each in self._followed.items()})
        for tenant, entries in relayed.entries.items():
            self._hand_out(tenant, self._followed[tenant], [entry.event for entry in entries])
        return False


async def test_control_a_hub_that_trusts_the_stream_loses_events(database: Database, redis: Redis) -> None:
    found = await emptied_while_told(
        database, redis, Trusting(database, redis, patience_s=PATIENCE_S), Relay(database, redis)
    )

    assert len(found) < MANY


@pytest.mark.usefixtures("steady")
async def test_what_was_cut_off_a_stream_is_read_from_the_record(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, relay = Hub(database, redis), Relay(database, redis)
    async with running(hub, relay), hub.listen("default", KINDS) as listener:
        await until(lambda: hub._followed["default"].epoch is not None)
        monkeypatch.setattr(hub, "_look", _nothing)
        await told(database, *(f"job {number}" for number in range(20)))
        await until(lambda: relay.relayed == 20)
        await redis.xtrim(keys.events_of("default"), maxlen=2, approximate=False)
        monkeypatch.undo()

        assert [f"job {number}" for number in range(20)] == await heard(listener, 20)


async def _nothing() -> bool:
    return False


async def test_redis_away_or_no_relay_events_are_heard_all_the_same(database: Database, redis: Redis) -> None:
    nowhere = connect("redis://127.0.0.1:1")
    cut_off, without = Hub(database, nowhere), Hub(database, redis)
    relay = Relay(database, nowhere)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(cut_off, without, relay))
        one, other = [await stack.enter_async_context(hub.listen("default", KINDS)) for hub in (cut_off, without)]
        await told(database, "job")

        assert ["job"] == await heard(one, 1) == await heard(other, 1)
        assert not relay.leading
    await nowhere.aclose()


async def test_who_begins_to_listen_between_two_looks_misses_nothing(database: Database, redis: Redis) -> None:
    """What was handed out between reading the edge and being handed events is read from the record."""
    hub = Hub(database, redis)
    async with running(hub), hub.listen("default", KINDS) as first:
        late = hub.listen("default", KINDS)
        here = await hub.edge()
        await told(database, "between")
        assert ["between"] == await heard(first, 1)
        late.position = here
        late._replaying = hub.attach(late, here)

        assert ["between"] == await heard(late, 1)
        hub.detach(late)
