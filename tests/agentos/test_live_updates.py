"""Live updates where things go wrong: clients come and go, a replica dies, Redis is emptied and cut off."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final
from uuid import UUID

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agentos.embedded import Addresses
from agentos.transports.seats import MOST_SOCKETS
from db import events, jobs
from db.events import Cursor, Event, Kind
from db.leases import Claim
from db.models.identity import DEFAULT_TENANT
from resolvers.live import PATIENCE_S
from tests.agentos.followers import ByIds, Farewell, Follower, OverEvents, OverSocket, Watcher, subscribed
from tests.agentos.replicas import Fleet, Replica, fleet, gone
from tests.serving import plain_client, served
from tests.waiting import eventually, until

EVENTS: Final = 500
JOBS: Final = 10
PER_TURN: Final = 2 * JOBS
TURNS: Final = (EVENTS - 2 * JOBS) // PER_TURN
SOON_S: Final = 60.0
"""How long anything may take here: the machine that tests may be busy with others."""

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module")
async def replicas(pair: Addresses, template: str) -> AsyncIterator[Fleet]:
    """Replicas that the tests of this module share."""
    async with fleet(pair.database_url, template) as made:
        yield made


@dataclass
class Ordeal:
    """What everybody heard of five hundred events while all of that happened."""

    truth: list[Event]
    """What is on record, in its order."""

    percents: dict[UUID, list[int]]
    """How far each job was said to be, in the order in which it was committed."""

    over_socket: Follower
    over_events: Follower
    without_cursor: Follower
    by_ids: ByIds

    @property
    def cursors(self) -> list[Cursor]:
        """Of everything on record."""
        return [event.cursor for event in self.truth]


class Writing:
    """Changes jobs, two at once, of which what began first ends last."""

    def __init__(self, replicas: Fleet, claims: list[Claim], by_ids: ByIds) -> None:
        self.percents: defaultdict[UUID, list[int]] = defaultdict(list)
        self.turns = 0
        """How often each job has come two steps further."""

        self._replicas = replicas
        self._claims = claims
        self._by_ids = by_ids

    async def turn(self) -> None:
        """Have each job come two steps further."""
        percent = 2 * self.turns
        for first, second in zip(self._claims[::2], self._claims[1::2], strict=True):
            await self._overlapping(first.job.id, second.job.id, percent + 1)
            await self._overlapping(second.job.id, first.job.id, percent + 2)
        self.turns += 1

    async def _overlapping(self, late: UUID, early: UUID, percent: int) -> None:
        database = self._replicas.database
        async with database.transaction(DEFAULT_TENANT) as outer:
            await jobs.mark_progress(outer, late, percent)
            async with database.transaction(DEFAULT_TENANT) as inner:
                await jobs.mark_progress(inner, early, percent)
            await self._committed(early, percent)
        await self._committed(late, percent)

    async def _committed(self, job: UUID, percent: int) -> None:
        self.percents[job].append(percent)
        await self._replicas.ring()
        await self._by_ids.look()


@pytest_asyncio.fixture(scope="module")
async def ordeal(replicas: Fleet) -> AsyncIterator[Ordeal]:
    """Everything that can go wrong, once, for all who look at it."""
    await replicas.of(2)
    tokens = [replicas.token(user) for user in await replicas.people(3)]
    start = await replicas.edge()
    by_ids = await ByIds.from_now(replicas.database_url)
    over_socket = OverSocket(replicas, tokens[0], after=start)
    over_events = OverEvents(replicas, tokens[1], after=start)
    without_cursor = OverSocket(replicas, tokens[2], after=None)
    claims = await replicas.at_work(JOBS)
    writing = Writing(replicas, claims, by_ids)

    async with asyncio.TaskGroup() as group:
        following = [group.create_task(each.follow()) for each in (over_socket, over_events, without_cursor)]
        harming = group.create_task(harm(replicas, over_socket, writing))
        for number in range(TURNS):
            await until(lambda number=number: over_socket.turns > number, within_s=SOON_S)
            await writing.turn()
        await harming
        truth = await on_record(replicas, start)
        over_socket.interval_s = over_events.interval_s = SOON_S
        await until(lambda: all(truth[-1].cursor in each.shown for each in (over_socket, over_events)), within_s=SOON_S)
        for each in following:
            each.cancel()
    yield Ordeal(truth, writing.percents, over_socket, over_events, without_cursor, by_ids)
    await by_ids.close()


async def harm(replicas: Fleet, client: Follower, writing: Writing) -> None:
    """Do it all, while more and more is written."""

    async def written(turns: int) -> None:
        await until(lambda: writing.turns >= turns, within_s=SOON_S)

    async def turned(turns: int) -> None:
        last = client.turns + turns
        await until(lambda: client.turns >= last, within_s=SOON_S)

    async with asyncio.TaskGroup() as group:
        await written(3)
        _, victim = replicas.staying
        await until(lambda: client.on is victim, within_s=SOON_S)
        await victim.kill()
        group.create_task(replicas.one_more())
        await written(6)
        await replicas.empty_redis()
        await written(8)
        await replicas.wire.leave()
        # Three seconds.
        await turned(6)
        await replicas.wire.listen()
        await written(16)
        replicas.freeze_redis()
        await turned(2)
        replicas.thaw_redis()
        await replicas.empty_redis()


async def on_record(replicas: Fleet, start: Cursor) -> list[Event]:
    """All changes of jobs after a cursor."""
    found: list[Event] = []
    while True:
        async with replicas.database.transaction(DEFAULT_TENANT) as tx:
            page = await events.after(tx, found[-1].cursor if found else start)
        if not page:
            return [event for event in found if event.kind == Kind.JOB_CHANGED]
        found += page


def test_nothing_is_lost_over_a_socket_whatever_happens(ordeal: Ordeal) -> None:
    assert EVENTS == len(ordeal.truth)
    assert ordeal.cursors == ordeal.over_socket.once


def test_nothing_is_lost_over_server_sent_events_whatever_happens(ordeal: Ordeal) -> None:
    assert ordeal.cursors == ordeal.over_events.once


def test_what_comes_about_a_job_comes_in_its_order_and_shows_nothing_older(ordeal: Ordeal) -> None:
    told = defaultdict(list)
    for event in ordeal.truth[2 * JOBS :]:
        told[UUID(event.entity_id)].append(event.payload["progress"])
    assert told == ordeal.percents
    for client in (ordeal.over_socket, ordeal.over_events):
        for event in ordeal.truth:
            job, progress = client.shown[event.cursor]
            assert event.entity_id == job
            assert event.payload["progress"] <= progress


def test_control_who_says_no_cursor_loses_events(ordeal: Ordeal) -> None:
    heard = set(ordeal.without_cursor.cursors)

    assert heard < set(ordeal.cursors)


def test_control_who_reads_on_by_ids_loses_events(ordeal: Ordeal) -> None:
    heard = set(ordeal.by_ids.cursors)

    assert heard < set(ordeal.cursors)


SUBSCRIBERS: Final = 50


async def test_a_replica_that_goes_sends_its_watchers_on_one_by_one_and_they_miss_nothing(replicas: Fleet) -> None:
    """Each goes on from the cursor in its farewell, whatever it heard before."""
    first, second = await replicas.of(2)
    users = await replicas.people(SUBSCRIBERS // MOST_SOCKETS)
    watchers = [Watcher(replicas.token(user)) for user in users for _ in range(MOST_SOCKETS)]
    start = await replicas.edge()
    claims = await replicas.at_work(JOBS)

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(each.watch(first, start)) for each in watchers]
        await until(lambda: all(len(each.arrived) == 2 * JOBS for each in watchers), within_s=SOON_S)
        first.stop()
        told = 0
        while not all(task.done() for task in watching):
            await replicas.progress(claims[told % JOBS], min(1 + told // JOBS, 100))
            told += 1
    farewells = [task.result() for task in watching]
    status = await gone(first)
    await replicas.progress(claims[0], 100)
    truth = [event.cursor for event in await on_record(replicas, start)]
    async with asyncio.TaskGroup() as group:
        again = [
            group.create_task(each.watch(second, told.cursor)) for each, told in zip(watchers, farewells, strict=True)
        ]
        await until(lambda: all(truth[-1] in each.arrived for each in watchers), within_s=SOON_S)
        for task in again:
            task.cancel()

    times = sorted(told.at for told in farewells)
    assert 0 == status
    assert {1012} == {told.code for told in farewells}
    assert times[-1] - times[0] > 1
    assert [truth] * SUBSCRIBERS == [list(each.arrived) for each in watchers]


READERS: Final = 19
THINGS: Final = 300
"""More than fit a mailbox, so that the newest about each are too many as well."""

FLOOD: Final = 2 * THINGS
FAT: Final = " ".join(f"t{number}: title" for number in range(29))
"""Some forty kilobytes for each change: what the system keeps for who does not read is soon full."""


async def test_one_who_does_not_read_is_let_go_with_a_cursor_and_nobody_notices(replicas: Fleet) -> None:
    [replica] = await replicas.of(1)
    users = await replicas.people(READERS)
    readers = [Watcher(replicas.token(user)) for user in users]
    stalled = Watcher(replicas.token(users[0]))
    claims = await replicas.at_work(THINGS, title="t" * 1_400)
    start = await replicas.edge()
    crowd = Crowd(replicas, readers, claims)

    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(each.watch(replica, start)) for each in readers]
        alone = await crowd.latencies(40)
        async with subscribed(replica, stalled.token, start, shown=FAT, deaf=True) as connection:
            connection.transport.pause_reading()
            await crowd.flood(THINGS)
            beside = await crowd.latencies(40)
            reading_at_last = group.create_task(let_go(replica, connection, stalled))
            before_mb = replica.rss_mb
            await crowd.flood(FLOOD)
            grown_mb = replica.rss_mb - before_mb
            farewell = await reading_at_last
        for task in reading:
            task.cancel()
    truth = [event.cursor for event in await on_record(replicas, start)]
    rest = Watcher(stalled.token)
    async with asyncio.TaskGroup() as group:
        resuming = group.create_task(rest.watch(replica, farewell.cursor))
        await until(lambda: truth[-1] in rest.arrived, within_s=SOON_S)
        resuming.cancel()

    assert (4413, True) == (farewell.code, "SLOW_CONSUMER" in farewell.reason)
    assert farewell.cursor == max(stalled.arrived)
    assert [cursor for cursor in truth if cursor > farewell.cursor] == list(rest.arrived)
    # A pause of the machine makes some changes late; who waited for the one who does not read would do so for longer.
    assert median(beside) < max(0.2, 3 * median(alone))
    assert p99(beside) < max(0.5 * PATIENCE_S, 3 * p99(alone))
    assert grown_mb < 12


class Broadcast:
    """Sends to one after the other, as one would."""

    def __init__(self) -> None:
        self.sockets: list[WebSocket] = []

    async def take(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.sockets.append(websocket)
        await websocket.receive()

    async def send(self, messages: int, size: int) -> None:
        for _ in range(messages):
            for websocket in self.sockets:
                await websocket.send_text("x" * size)


@pytest.mark.parametrize("deaf", [False, True])
async def test_control_who_sends_to_one_after_the_other_waits_for_who_does_not_read(deaf: bool) -> None:
    messages = 1_000
    broadcast, heard = Broadcast(), 0
    app = Starlette(routes=[WebSocketRoute("/", broadcast.take)])
    async with served(app) as server, asyncio.TaskGroup() as group:
        url = f"ws://{server.host}:{server.port}/"
        async with connect(url) as one, connect(url) as other:
            await until(lambda: len(broadcast.sockets) == 2)
            sending = group.create_task(broadcast.send(messages, 20_000))
            if deaf:
                one.transport.pause_reading()
            else:
                group.create_task(exhausted(one))
            with suppress(TimeoutError):
                async with asyncio.timeout(2 if deaf else SOON_S):
                    while heard < messages:
                        await other.recv()
                        heard += 1
            sending.cancel()
            one.transport.abort()

    assert deaf is (heard < messages)


async def exhausted(connection: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await connection.recv()


class Crowd:
    """Readers of all that is told about some jobs, and how soon they have it."""

    def __init__(self, replicas: Fleet, readers: list[Watcher], claims: list[Claim]) -> None:
        self._replicas = replicas
        self._readers = readers
        self._claims = claims
        self._percent = 0

    async def latencies(self, count: int) -> list[float]:
        """Seconds from a commit until somebody has it, for each of so many changes and each reader."""
        found = []
        for number in range(count):
            self._percent += number % len(self._claims) == 0
            committed = await self._replicas.progress(self._claims[number % len(self._claims)], self._percent)
            last = await self._replicas.last()
            await until(lambda last=last: all(last in each.arrived for each in self._readers), within_s=SOON_S)
            found += [each.arrived[last] - committed for each in self._readers]
        return found

    async def flood(self, count: int) -> None:
        """Have all jobs change at once, again and again, and return when everybody knows how that ended."""
        told = [claim.job for claim in self._claims]
        while count > 0:
            async with self._replicas.database.transaction(DEFAULT_TENANT) as tx:
                await jobs.announce_all(tx, told[:count])
            await self._replicas.ring()
            count -= len(told)
            await self.caught_up()

    async def caught_up(self) -> None:
        """Return once everybody has the last of what there is."""
        last = await self._replicas.last()
        await until(lambda: all(last in each.arrived for each in self._readers), within_s=SOON_S)


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1]


async def let_go(replica: Replica, connection: ClientConnection, stalled: Watcher) -> Farewell:
    """What one who does not read finds who reads at last, once the replica does not count them any more."""
    await eventually(lambda: sockets(replica), lambda open_: open_ == READERS, within_s=SOON_S, every_s=0.2)
    connection.transport.resume_reading()
    return await stalled.take(connection)


async def sockets(replica: Replica) -> int:
    """How many sockets a replica has not let go."""
    async with plain_client(timeout=SOON_S) as client:
        told = (await client.get(f"http://127.0.0.1:{replica.port}/metrics")).text
    found = re.search(r"^agentos_sockets\S* (\S+)$", told, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))
