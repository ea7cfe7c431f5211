"""Live updates where things go wrong: clients come and go, a replica dies, Redis is emptied and cut off."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import pytest
import pytest_asyncio

from agentos.embedded import Addresses
from db import events, jobs
from db.events import Cursor, Event, Kind
from db.leases import Claim
from db.models.identity import DEFAULT_TENANT
from tests.agentos.followers import ByIds, Follower, OverSocket
from tests.agentos.replicas import Fleet, fleet
from tests.waiting import until

EVENTS: Final = 500
JOBS: Final = 10
PER_TURN: Final = 2 * JOBS
TURNS: Final = (EVENTS - 2 * JOBS) // PER_TURN
SOON_S: Final = 30.0

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
        self._replicas = replicas
        self._claims = claims
        self._by_ids = by_ids

    async def turn(self, number: int) -> None:
        """Have each job come two steps further."""
        for first, second in zip(self._claims[::2], self._claims[1::2], strict=True):
            await self._overlapping(first.job.id, second.job.id, 2 * number + 1)
            await self._overlapping(second.job.id, first.job.id, 2 * number + 2)

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
    tokens = [replicas.token(user) for user in await replicas.people(2)]
    async with replicas.database.system() as tx:
        start = await events.edge(tx)
    by_ids = await ByIds.from_now(replicas.database_url)
    over_socket = OverSocket(replicas, tokens[0], after=start)
    without_cursor = OverSocket(replicas, tokens[1], after=None)
    claims = await replicas.at_work(JOBS)
    writing = Writing(replicas, claims, by_ids)

    async with asyncio.TaskGroup() as group:
        following = [group.create_task(each.follow()) for each in (over_socket, without_cursor)]
        harming = group.create_task(harm(replicas, over_socket))
        for number in range(TURNS):
            await until(lambda number=number: over_socket.turns > number, within_s=SOON_S)
            await writing.turn(number)
        await harming
        truth = await on_record(replicas, start)
        await until(lambda: truth[-1].cursor in over_socket.shown, within_s=SOON_S)
        for each in following:
            each.cancel()
    yield Ordeal(truth, writing.percents, over_socket, without_cursor, by_ids)
    await by_ids.close()


async def harm(replicas: Fleet, client: Follower) -> None:
    """Do it all, each at a turn of a client's."""

    async def turn(number: int) -> None:
        await until(lambda: client.turns >= number, within_s=SOON_S)

    async with asyncio.TaskGroup() as group:
        await turn(4)
        _, victim = replicas.alive
        await until(lambda: client.on is victim, within_s=SOON_S)
        await victim.kill()
        group.create_task(replicas.one_more())
        await turn(8)
        await replicas.empty_redis()
        # Six turns are three seconds.
        await turn(10)
        await replicas.wire.leave()
        await turn(16)
        await replicas.wire.listen()
        await turn(18)
        replicas.freeze_redis()
        await turn(20)
        replicas.thaw_redis()
        await replicas.empty_redis()


async def on_record(replicas: Fleet, start: Cursor) -> list[Event]:
    async with replicas.database.transaction(DEFAULT_TENANT) as tx:
        return [e for e in await events.after(tx, start, most=2 * EVENTS) if e.kind == Kind.JOB_CHANGED]


def test_nothing_is_lost_over_a_socket_whatever_happens(ordeal: Ordeal) -> None:
    assert EVENTS == len(ordeal.truth)
    assert ordeal.cursors == ordeal.over_socket.once


def test_what_comes_about_a_job_comes_in_its_order_and_shows_nothing_older(ordeal: Ordeal) -> None:
    told = defaultdict(list)
    for event in ordeal.truth[2 * JOBS :]:
        told[UUID(event.entity_id)].append(event.payload["progress"])
    assert told == ordeal.percents
    for client in (ordeal.over_socket,):
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
