"""Workers are what they last said, and gone when they say nothing."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import events, workers
from db.database import Database
from db.events import START, Kind
from db.models.work import WorkerState
from db.models.work import workers as table
from db.pages import Order, Window
from db.workers import Beat, Presence, Signs, Worker

ORDER = Order("heartbeat_at")


def said(name: str, state: WorkerState = WorkerState.IDLE, *, completed: int = 0, held: Sequence[UUID] = ()) -> Beat:
    return Beat(
        id=name,
        hostname="studio",
        pid=7,
        version="5",
        state=state,
        concurrency=2,
        current_jobs=list(held),
        jobs_completed=completed,
        jobs_failed=0,
        cpu_percent=None,
        memory_mb=None,
    )


async def heard(database: Database, name: str, state: WorkerState, *, ago: timedelta) -> Worker:
    """A worker that said so, that long ago: by the clock of one transaction, which stands still."""
    async with database.system() as tx:
        await workers.beat(tx, said(name, state))
        await tx.execute(sa.update(table).where(table.c.id == name).values(heartbeat_at=sa.func.now() - ago))
        worker = await workers.by_id(tx, name)
    assert worker is not None
    return worker


async def test_a_beat_overwrites_the_one_before(database: Database) -> None:
    async with database.system() as tx:
        await workers.beat(tx, said("a", completed=1))
        await workers.beat(tx, said("a", WorkerState.ACTIVE, completed=2))
        [worker] = await workers.by_ids(tx, ["a", "b"])

    assert (WorkerState.ACTIVE, 2, True) == (worker.state, worker.jobs_completed, worker.alive)


async def test_a_beat_is_answered_with_what_is_asked_of_it(database: Database) -> None:
    async with database.system() as tx:
        first = await workers.beat(tx, said("a"))
        await tx.execute(sa.update(table).values(desired_state=WorkerState.PAUSED))
        second = await workers.beat(tx, said("a"))

    assert (WorkerState.ACTIVE, WorkerState.PAUSED) == (first, second)


@pytest.mark.parametrize(
    ("state", "seconds", "presence"),
    [
        (WorkerState.ACTIVE, 1, Presence.ACTIVE),
        (WorkerState.IDLE, 14, Presence.IDLE),
        (WorkerState.PAUSED, 1, Presence.PAUSED),
        (WorkerState.DRAINING, 1, Presence.ACTIVE),
        (WorkerState.IDLE, 16, Presence.STALE),
        (WorkerState.ACTIVE, 299, Presence.STALE),
        (WorkerState.ACTIVE, 301, Presence.OFFLINE),
        (WorkerState.STOPPED, 1, Presence.OFFLINE),
    ],
)
async def test_presence_is_judged_by_the_age_of_the_heartbeat(
    database: Database, state: WorkerState, seconds: int, presence: Presence
) -> None:
    ago = timedelta(seconds=seconds)
    worker = await heard(database, "a", state, ago=ago)

    assert presence is worker.presence(worker.heartbeat_at + ago)


async def test_the_signs_are_those_of_all_workers_together(database: Database) -> None:
    async with database.system() as tx:
        none = await workers.signs(tx)
    await heard(database, "silent", WorkerState.IDLE, ago=timedelta(minutes=1))
    stopped = await heard(database, "stopped", WorkerState.STOPPED, ago=timedelta())
    await heard(database, "here", WorkerState.IDLE, ago=timedelta(seconds=5))
    async with database.transaction("default") as tx:
        signs = await workers.signs(tx)

    assert Signs(heartbeat_at=None, alive=0) == none
    assert Signs(heartbeat_at=stopped.heartbeat_at, alive=1) == signs


async def test_lists_tell_the_living_from_the_others(database: Database) -> None:
    await heard(database, "here", WorkerState.IDLE, ago=timedelta())
    await heard(database, "silent", WorkerState.IDLE, ago=timedelta(minutes=1))
    async with database.system() as tx:
        alive = await workers.listed(tx, ORDER, Window(), alive=True)
        others = await workers.listed(tx, ORDER, Window(), alive=False)
        last = await workers.heard_last(tx, most=1)
        count = await workers.how_many(tx)

    assert (["here"], ["silent"]) == ([w.id for w in alive.items], [w.id for w in others.items])
    assert (["here"], 2) == ([worker.id for worker in last], count)


async def test_only_who_was_silent_for_long_is_forgotten(database: Database) -> None:
    await heard(database, "here", WorkerState.IDLE, ago=timedelta(minutes=1))
    await heard(database, "gone", WorkerState.IDLE, ago=timedelta(hours=25))
    async with database.system() as tx:
        forgotten = await workers.forget(tx, silent_for=timedelta(days=1))
        left = await workers.heard_last(tx, most=9)

    assert (1, ["here"]) == (forgotten, [worker.id for worker in left])


async def test_a_worker_that_was_killed_holds_nothing(database: Database) -> None:
    held = uuid4()
    async with database.system() as tx:
        await workers.beat(tx, said("a", WorkerState.ACTIVE, held=[held]))
        alive = await workers.by_id(tx, "a")
        await tx.execute(sa.update(table).values(heartbeat_at=sa.func.now() - timedelta(seconds=16)))
        silent = await workers.by_id(tx, "a")
        [listed] = await workers.heard_last(tx, most=1)

    assert alive is not None
    assert silent is not None
    assert ([held], [], []) == (alive.current_jobs, silent.current_jobs, listed.current_jobs)


async def told(database: Database, tenant: str = "default") -> list[tuple[str, dict[str, object]]]:
    """What a tenant was told of workers."""
    async with database.transaction(tenant) as tx:
        heard = await events.after(tx, START)
    return [(event.entity_id, event.payload) for event in heard if event.kind is Kind.WORKER_CHANGED]


async def test_every_tenant_is_told_when_a_worker_comes_pauses_and_goes_and_of_no_other_beat(
    database: Database,
) -> None:
    """That it has a job in hand, or none any more, is told of the job."""
    states = (
        *(WorkerState.IDLE, WorkerState.ACTIVE, WorkerState.IDLE, WorkerState.IDLE),
        *(WorkerState.PAUSED, WorkerState.PAUSED, WorkerState.ACTIVE),
        *(WorkerState.DRAINING, WorkerState.STOPPED, WorkerState.STOPPED),
    )
    for state in states:
        async with database.system() as tx:
            await workers.beat(tx, said("a", state))

    expected = [("a", {"state": state}) for state in ("idle", "paused", "active", "draining", "stopped")]
    assert expected == await told(database) == await told(database, "other")


async def test_what_is_asked_of_workers_is_told_once(database: Database) -> None:
    async with database.system() as tx:
        await workers.beat(tx, said("a"))
        await workers.beat(tx, said("b", WorkerState.ACTIVE))
    async with database.transaction("default") as tx:
        await workers.desire(tx, ["a", "b", "nobody"], WorkerState.PAUSED)
        await workers.desire(tx, ["a"], WorkerState.PAUSED)
        await workers.ask(tx, ["b"], {"queues": ["shorts"], "max_jobs": 4})

    expected = [
        ("a", {"state": "idle", "asked": "paused"}),
        ("b", {"state": "active", "asked": "paused"}),
        ("b", {"state": "active", "asked": ["max_jobs", "queues"]}),
    ]
    assert expected == sorted((await told(database))[2:], key=lambda each: each[0])
    assert expected == sorted((await told(database, "other"))[2:], key=lambda each: each[0])


async def test_a_worker_that_falls_silent_is_told_of_once_until_it_is_heard_again(database: Database) -> None:
    await heard(database, "a", WorkerState.ACTIVE, ago=timedelta(seconds=16))
    await heard(database, "here", WorkerState.IDLE, ago=timedelta(seconds=1))
    await heard(database, "stopped", WorkerState.STOPPED, ago=timedelta(minutes=1))
    noted = []
    for _ in range(2):
        async with database.system() as tx:
            noted.append(await workers.note_silent(tx))
    async with database.system() as tx:
        await workers.beat(tx, said("a", WorkerState.ACTIVE))

    assert [["a"], []] == noted
    expected = [("a", {"state": "active", "silent": True}), ("a", {"state": "active"})]
    assert expected == (await told(database))[3:]


async def test_workers_that_are_buried_or_forgotten_are_told_of(database: Database) -> None:
    await heard(database, "gone", WorkerState.STOPPED, ago=timedelta(hours=25))
    async with database.system() as tx:
        await workers.beat(tx, said("killed"))
        await workers.mark_gone(tx, "studio", 7)
        await workers.mark_gone(tx, "studio", 7)
        await workers.forget(tx, silent_for=timedelta(days=1))

    expected = [("killed", {"state": "stopped"}), ("gone", {"state": "stopped", "removed": True})]
    assert expected == (await told(database))[2:]
