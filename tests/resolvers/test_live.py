"""The hub: nothing is lost, nobody waits for anybody, everybody hears only what is theirs."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from agentos.embedded import Addresses
from db import bells, events, keys
from db.database import Database
from db.events import Event, Kind
from db.models.identity import Role
from db.redis import Redis, connect
from guards.errors import Unavailable
from resolvers import live
from resolvers.live import MAILBOX, Hub, Listener, SlowConsumer, Stopping
from tests.conftest import OTHER_TENANT, People
from tests.resolvers.hubs import KINDS, next_of, running, tell, told
from tests.urls import driver_url
from tests.waiting import PATIENCE_S, eventually, until


async def test_an_event_that_is_committed_late_is_not_lost(
    database_url: str, database: Database, redis: Redis, tenant: str
) -> None:
    """The control reads on by `id > last`, as one would; it loses what began first and ended last."""
    control: list[str] = []
    last = 0

    async def look(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        nonlocal last
        for row in await connection.fetch("SELECT id, entity_id FROM events WHERE id > $1 ORDER BY id", last):
            control.append(row["entity_id"])
            last = row["id"]

    naive = await asyncpg.connect(driver_url(database_url))
    try:
        async with running(database, redis) as hub, hub.listen(tenant, KINDS) as heard:
            async with database.transaction(tenant) as late:
                await tell(late, "late")
                await told(database, tenant, "early")
                await look(naive)
            await look(naive)

            assert ["late", "early"] == [await next_of(heard), await next_of(heard)]
        assert ["early"] == control
    finally:
        await naive.close()


async def test_a_listener_begins_with_what_is_not_committed_yet(database: Database, redis: Redis, tenant: str) -> None:
    await told(database, tenant, "before")
    async with running(database, redis) as hub, hub.listen(tenant, KINDS) as heard:
        await told(database, tenant, "after")

        assert "after" == await next_of(heard)


async def test_who_waits_is_not_slow_however_much_comes_at_once(
    database: Database, redis: Redis, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that had nothing to take for long is handed more than fits before it can take any of it."""
    many = [str(number) for number in range(MAILBOX + 50)]

    async def burst() -> list[str]:
        async with running(database, redis, patience_s=0.5) as hub, hub.listen(tenant, KINDS) as idle:
            first = asyncio.create_task(next_of(idle))
            _, waiting = await asyncio.wait({first}, timeout=0.7)
            assert waiting
            await told(database, tenant, *many)
            return [await first, *[await next_of(idle) for _ in many[1:]]]

    assert many == await burst()

    # The weakened twin counts the time in which there was nothing to take.
    monkeypatch.setattr(Listener, "stalled", lambda self, patience_s: self._overflowed)
    with pytest.raises(ExceptionGroup) as failed:
        await burst()
    assert failed.value.subgroup(SlowConsumer) is not None


async def test_a_slow_listener_is_let_go_and_the_others_miss_nothing(
    database: Database, redis: Redis, tenant: str
) -> None:
    many = [str(number) for number in range(MAILBOX + 50)]
    async with (
        running(database, redis, patience_s=1) as hub,
        hub.listen(tenant, KINDS) as slow,
        hub.listen(tenant, KINDS) as quick,
    ):
        # It waits already: who has not asked yet while they are told is as slow as the other one.
        first = asyncio.create_task(next_of(quick))
        await asyncio.sleep(0)
        await told(database, tenant, *many)
        assert many == [await first, *[await next_of(quick) for _ in many[1:]]]
        await until(lambda: hub.listeners == 1)

        with pytest.raises(SlowConsumer) as refusal:
            await next_of(slow)
        assert ("SLOW_CONSUMER", 1) == (refusal.value.code, hub.dropped)
        assert slow.position == refusal.value.cursor
        assert f"listen again after {slow.position}" in str(refusal.value)
        await told(database, tenant, "on")
        assert "on" == await next_of(quick)


async def test_more_than_fits_a_mailbox_is_heard_in_full_by_who_takes_it(
    database: Database, redis: Redis, tenant: str
) -> None:
    """A burst of one transaction fills the mailbox before its owner has had a turn."""
    burst = [str(number) for number in range(3 * MAILBOX)]
    async with running(database, redis) as hub, hub.listen(tenant, KINDS) as heard:
        await told(database, tenant, *burst)
        taken = [await next_of(heard) for _ in burst]
        await told(database, tenant, "then")

        assert [*burst, "then"] == [*taken, await next_of(heard)]
        assert 0 == hub.dropped


async def test_a_full_mailbox_keeps_the_newest_about_each_thing(database: Database, redis: Redis, tenant: str) -> None:
    """A job that changes three hundred times while nobody looks is no reason to let its watcher go."""
    async with running(database, redis) as hub, hub.listen(tenant, KINDS) as heard:
        await told(database, tenant, *["job"] * (MAILBOX + 44), "end")
        kept: list[Event] = []
        while not kept or kept[-1].entity_id != "end":
            async with asyncio.timeout(PATIENCE_S):
                kept.append(await anext(heard))

    assert [*range(MAILBOX, MAILBOX + 45)] == [event.payload["number"] for event in kept]


async def test_each_hears_of_their_tenant_kind_entity_and_own_only(
    database: Database, redis: Redis, tenant: str, people: People
) -> None:
    """The last event is everybody's: what a listener was not to hear would have come before it."""
    owner = people[Role.USER].id
    async with (
        running(database, redis) as hub,
        hub.listen(tenant, KINDS) as all_jobs,
        hub.listen(tenant, KINDS, owner=owner) as own,
        hub.listen(tenant, [Kind.JOB_CHANGED, Kind.QUEUE_CHANGED], entity="x") as about_x,
        hub.listen(OTHER_TENANT, KINDS) as elsewhere,
    ):
        await told(database, OTHER_TENANT, "foreign")
        await told(database, tenant, "a", owner=uuid4())
        async with database.transaction(tenant) as tx:
            await events.record(tx, Kind.QUEUE_CHANGED, "x", {})
        await told(database, tenant, "x", owner=owner)

        assert ["a", "x"] == [await next_of(all_jobs), await next_of(all_jobs)]
        assert "x" == await next_of(own)
        assert [Kind.QUEUE_CHANGED, Kind.JOB_CHANGED] == [(await anext(about_x)).kind, (await anext(about_x)).kind]
        assert "foreign" == await next_of(elsewhere)


async def test_listening_after_a_cursor_replays_and_goes_on_without_gap_or_repetition(
    database: Database, redis: Redis, tenant: str
) -> None:
    async with running(database, redis) as hub:
        async with hub.listen(tenant, KINDS) as first:
            await told(database, tenant, "0")
            await next_of(first)
            place = first.position
        many = [str(number) for number in range(1, 2 * MAILBOX + 20)]
        await told(database, tenant, *many[:-2])
        async with hub.listen(tenant, KINDS, after=place) as again:
            heard = [await next_of(again)]
            await told(database, tenant, many[-2])
            heard += [await next_of(again) for _ in many[1:-1]]
            await told(database, tenant, many[-1])
            heard.append(await next_of(again))

    assert many == heard


async def test_a_replay_steps_over_what_is_not_wanted(database: Database, redis: Redis, tenant: str) -> None:
    async with running(database, redis) as hub:
        place = await hub.edge()
        await told(database, tenant, *["other"] * (MAILBOX + 10), "mine")
        async with hub.listen(tenant, KINDS, entity="mine", after=place) as heard:
            assert "mine" == await next_of(heard)


async def test_the_hub_catches_up_when_the_database_was_away(
    pair: Addresses, database_url: str, database: Database, redis: Redis, tenant: str
) -> None:
    """The hub's connections are cut and no new one is let in; what happens meanwhile is heard afterwards."""
    name = database_url.rpartition("/")[2].partition("?")[0]
    administrator = await asyncpg.connect(driver_url(pair.database_url))
    away = Database.connect(database_url, size=2, application="hub away")
    try:
        async with running(away, redis) as hub, hub.listen(tenant, KINDS) as heard:
            await told(database, tenant, "before")
            assert "before" == await next_of(heard)

            await administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hub away'"
            )
            await told(database, tenant, "meanwhile")
            await until(lambda: hub.behind_s >= 1.0)
            await administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await told(database, tenant, "afterwards")

            assert ["meanwhile", "afterwards"] == [await next_of(heard), await next_of(heard)]
    finally:
        # Tests after this one come to the same database.
        await administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await away.close()
        await administrator.close()


async def test_a_bell_is_heard_in_every_process(
    database: Database, redis: Redis, redis_url: str, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking by themselves, the hubs would notice within an hour."""
    monkeypatch.setattr(live, "LOOK_EVERY_S", 3600.0)
    async with (
        connect(redis_url, answer_timeout_s=PATIENCE_S) as other,
        running(database, redis) as here,
        running(database, other) as there,
        here.listen(tenant, KINDS) as heard_here,
        there.listen(tenant, KINDS) as heard_there,
    ):
        await eventually(lambda: redis.pubsub_numsub(keys.EVENTS_BELL), lambda told: told[0][1] == 2)
        database.bell = bells.of_events(redis)
        await told(database, tenant, "rung")

        assert ["rung", "rung"] == [await next_of(heard_here), await next_of(heard_there)]


async def test_without_redis_events_are_heard_all_the_same(database: Database, tenant: str) -> None:
    async with (
        connect("redis://127.0.0.1:1/0") as nowhere,
        running(database, nowhere) as hub,
        hub.listen(tenant, KINDS) as heard,
    ):
        database.bell = bells.of_events(nowhere)
        await told(database, tenant, "quiet")

        assert "quiet" == await next_of(heard)


async def test_who_listens_is_told_when_the_process_goes(database: Database, redis: Redis, tenant: str) -> None:
    hub = Hub(database, redis)
    reader = asyncio.ensure_future(hub.run())
    async with hub.listen(tenant, KINDS) as heard:
        waiting = asyncio.ensure_future(next_of(heard))
        await asyncio.sleep(0)
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader

        with pytest.raises(Stopping, match="listen again in a moment, after") as refusal:
            await waiting
    assert (0, "UNAVAILABLE", heard.position) == (hub.listeners, refusal.value.code, refusal.value.cursor)


async def test_who_reads_the_record_is_told_when_the_process_goes(
    database: Database, roomy: Database, redis: Redis, tenant: str
) -> None:
    """What they wait for is read for several at once, and is given up with the hub; they are not."""
    hub = Hub(roomy, redis)
    place = await hub.edge()
    async with database.system() as tx, hub.listen(tenant, KINDS, after=place) as heard:
        await tx.execute(sa.text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        waiting = asyncio.ensure_future(next_of(heard))
        await until(lambda: bool(hub._pages._tasks))
        reader = asyncio.ensure_future(hub.run())
        await asyncio.sleep(0)
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader

        with pytest.raises(Stopping) as refusal:
            await waiting
    assert place == refusal.value.cursor


class Unlucky(Hub):
    """A hub whose store fails just when it is told to end, and answers with an error of its own."""

    def __init__(self, database: Database, redis: Redis) -> None:
        super().__init__(database, redis)
        self.looking = asyncio.Event()

    async def _look(self) -> bool:
        self.looking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise Unavailable("the store went away") from error
        return False


async def test_a_hub_ends_although_its_store_fails_just_then(database: Database, redis: Redis) -> None:
    """Else a server that is told to stop would wait for its reader for ever."""
    hub = Unlucky(database, redis)
    ending = asyncio.create_task(hub.run())
    await hub.looking.wait()

    ending.cancel()
    done, _ = await asyncio.wait([ending], timeout=PATIENCE_S)

    assert {ending} == done


async def test_only_what_a_condition_says_yes_to_is_heard_in_a_replay_as_well(
    database: Database, redis: Redis, tenant: str
) -> None:
    def even(event: Event) -> bool:
        return int(event.payload["number"]) % 2 == 0

    async with running(database, redis) as hub:
        place = await hub.edge()
        await told(database, tenant, "0", "1", "2")
        async with hub.listen(tenant, KINDS, wants=even, after=place) as heard:
            replayed = [await next_of(heard), await next_of(heard)]
            await told(database, tenant, "3", "4", "5")

            assert ["0", "2", "3", "5"] == [*replayed, await next_of(heard), await next_of(heard)]


async def test_a_condition_that_fails_ends_its_own_listener_alone(
    database: Database, redis: Redis, tenant: str
) -> None:
    def failing(event: Event) -> bool:
        return bool(event.payload["no such thing"])

    async with (
        running(database, redis) as hub,
        hub.listen(tenant, KINDS, wants=failing) as broken,
        hub.listen(tenant, KINDS) as whole,
    ):
        await told(database, tenant, "0", "1")

        assert ["0", "1"] == [await next_of(whole), await next_of(whole)]
        with pytest.raises(SlowConsumer, match="could not be told"):
            await next_of(broken)


@pytest.mark.parametrize(
    ("kind", "coalesced"), [(Kind.SECURITY_ALERTED, True), (Kind.LOG_APPENDED, True), (Kind.JOB_CHANGED, False)]
)
async def test_what_occurred_is_told_each_time_however_full_a_mailbox_is(
    database: Database, redis: Redis, tenant: str, kind: Kind, coalesced: bool
) -> None:
    """A second alert about somebody does not make the first one superfluous, as a job's newer status does."""
    numbers = list(range(MAILBOX + 44))
    async with running(database, redis) as hub, hub.listen(tenant, [kind], coalesced=coalesced) as heard:
        async with database.transaction(tenant) as tx:
            await events.record_all(tx, kind, [("somebody", {"number": each}, None, tenant) for each in numbers])

        async with asyncio.timeout(PATIENCE_S):
            assert numbers == [(await anext(heard)).payload["number"] for _ in numbers]
