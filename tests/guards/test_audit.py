"""The trail beside what is done: both or neither, whatever happens in between; and nothing in it that must not be."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import sqlalchemy as sa

from db import audit, events, system_events
from db.database import Database, DatabaseBusy, DatabaseUnavailable, Transaction
from db.events import START, Event
from db.models.records import Severity
from db.models.records import system_events as effects
from db.pages import Order, Window
from db.redis import Redis
from guards.audit import Audit, Outcome, outline
from guards.chain import Answered
from guards.errors import Conflict, Forbidden, Unavailable
from guards.seals import Seals
from resolvers.context import Services
from tests.trails import entry, recorded, seals
from tests.uploading import services_over
from tests.waiting import until


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


@pytest.fixture
def keys() -> Seals:
    """The keys of the trail."""
    return seals()


async def entries(database: Database, tenant: str = "default") -> list[audit.Entry]:
    """The trail from its beginning."""
    async with database.transaction(tenant) as tx:
        page = await audit.listed(tx, audit.Filter(), Order("seq", descending=False), Window(size=100))
    return page.items


async def effect(tx: Transaction, number: int) -> bytes:
    """Something that is done: a row that bears a number."""
    await system_events.record(tx, "tried", Severity.INFO, "test", str(number))
    return b'{"number":%d}' % number


async def done(database: Database) -> set[int]:
    """The numbers of what was done."""
    async with database.transaction("default") as tx:
        return {int(message) for (message,) in await tx.rows(sa.select(effects.c.message))}


async def on_record(database: Database) -> set[int]:
    """The numbers of what the record says was done."""
    async with database.transaction("default") as tx:
        return {
            number
            for (number,) in await tx.rows(
                sa.text("SELECT (result->>'number')::int FROM audit WHERE result ? 'number'")
            )
        }


class Crash(BaseException):
    """The process is gone."""


async def cut(tx: Transaction) -> None:
    """Have the server end this very connection, as when it, or the way to it, goes down."""
    pid = await tx.scalar(sa.text("SELECT pg_backend_pid()"))
    await tx.scalar(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


async def crash(_: Transaction) -> None:
    raise Crash


async def fail(tx: Transaction) -> None:
    await tx.execute(sa.text("SELECT 1 / 0"))


async def refuse(_: Transaction) -> None:
    raise Conflict("not now")


async def nothing(_: Transaction) -> None:
    """All goes well."""


Mishap = Callable[[Transaction], Awaitable[None]]
MISHAPS: list[Mishap] = [nothing, nothing, crash, cut, fail, refuse]


async def through_the_chain(services: Services, number: int, mishap: Mishap) -> None:
    """One action whose mishap, if it has one, comes between its effect and the commit."""

    async def carried(tx: Transaction) -> Answered:
        answer = await effect(tx, number)
        await mishap(tx)
        return Answered(answer)

    await services.chain.admit(entry(), carried, key=None)


async def afterwards(services: Services, number: int, mishap: Mishap) -> None:
    """The weakened twin: the record is written once the effect is committed."""
    async with services.database.transaction("default") as tx:
        answer = await effect(tx, number)
    async with services.database.transaction("default") as tx:
        await mishap(tx)
        await services.chain.audit.done(tx, entry(), answer)


async def tried(services: Services, way: Callable[[Services, int, Mishap], Awaitable[None]]) -> None:
    """Sixty actions of which most meet with a mishap, several at once."""
    choose, waiting = random.Random(7), asyncio.Semaphore(6)

    async def one(number: int, mishap: Mishap) -> None:
        async with waiting:
            try:
                await way(services, number, mishap)
            except (Exception, Crash):
                assert mishap is not nothing

    await asyncio.gather(*(one(number, choose.choice(MISHAPS)) for number in range(60)))


async def test_whatever_happens_before_the_commit_what_was_done_is_on_record_and_nothing_else(
    services: Services, database: Database
) -> None:
    await tried(services, through_the_chain)

    found = await done(database)
    assert 10 < len(found) < 40
    assert found == await on_record(database)


async def test_control_a_record_that_is_written_afterwards_loses_some(services: Services, database: Database) -> None:
    await tried(services, afterwards)

    assert 60 == len(await done(database))
    assert len(await on_record(database)) < 40


async def holding(database: Database, held: asyncio.Event, let_go: asyncio.Event) -> None:
    """Keep the head of the trail locked, as a slow transaction would."""
    async with database.transaction("default") as tx:
        await Audit(database, seals()).done(tx, entry(), b"{}")
        held.set()
        await let_go.wait()


async def test_an_entry_that_cannot_be_written_undoes_the_action(services: Services, database: Database) -> None:
    held, let_go = asyncio.Event(), asyncio.Event()

    async def carried(tx: Transaction) -> Answered:
        await tx.execute(sa.text("SET LOCAL statement_timeout = '100ms'"))
        return Answered(await effect(tx, 1))

    async with asyncio.TaskGroup() as group:
        group.create_task(holding(database, held, let_go))
        await held.wait()
        with pytest.raises(DatabaseBusy):
            await services.chain.admit(entry(), carried, key=None)
        let_go.set()

    assert set() == await done(database)
    assert 1 == len(await entries(database)), "the holder's own"


async def test_control_an_entry_whose_failure_is_swallowed_leaves_an_action_off_the_record(
    services: Services, database: Database
) -> None:
    held, let_go = asyncio.Event(), asyncio.Event()

    async with asyncio.TaskGroup() as group:
        group.create_task(holding(database, held, let_go))
        await held.wait()
        async with database.transaction("default") as tx:
            answer = await effect(tx, 1)
        with suppress(sa.exc.DBAPIError):
            async with database.transaction("default") as tx:
                await tx.execute(sa.text("SET LOCAL statement_timeout = '100ms'"))
                await services.chain.audit.done(tx, entry(), answer)
        let_go.set()

    assert {1} == await done(database)
    assert set() == await on_record(database)


async def test_what_was_refused_or_failed_is_on_record_with_its_reason(services: Services, database: Database) -> None:
    async def forbidden(_: Transaction) -> Answered:
        raise Forbidden("no")

    async def broken(_: Transaction) -> Answered:
        raise LookupError("the secret is hunter2")

    async def refused(_: Transaction) -> Answered:
        raise Conflict("job 7 of Mrs. Miller has finished")

    for way, error in ((forbidden, Forbidden), (refused, Conflict), (broken, LookupError)):
        with pytest.raises(error):
            await services.chain.admit(entry(), way, key=None)

    found = await entries(database)
    assert [("denied", "FORBIDDEN"), ("refused", "CONFLICT"), ("failed", "INTERNAL_ERROR")] == [
        (each.outcome, each.code) for each in found
    ]
    assert "hunter2" not in str(found)
    assert "Miller" not in str(found)


async def test_who_waits_in_vain_for_somebody_else_is_on_record(services: Services, database: Database) -> None:
    async def waiting(tx: Transaction) -> Answered:
        answer = await effect(tx, 1)
        await tx.execute(sa.text("SET LOCAL lock_timeout = '10ms'"))
        await tx.hold("the last place")
        return Answered(answer)

    async with database.system() as other:
        await other.hold("the last place")
        with pytest.raises(Unavailable, match="somebody else"):
            await services.chain.admit(entry(), waiting, key=None)

    assert set() == await done(database)
    assert [("refused", "UNAVAILABLE")] == [(each.outcome, each.code) for each in await entries(database)]


async def test_who_hangs_up_at_once_is_on_record_all_the_same(database: Database, roomy: Database, keys: Seals) -> None:
    held, let_go = asyncio.Event(), asyncio.Event()
    trail = Audit(roomy, keys)

    async with asyncio.TaskGroup() as group:
        group.create_task(holding(database, held, let_go))
        await held.wait()
        trying = group.create_task(trail.refused(entry(action="job.delete"), Outcome.DENIED, "FORBIDDEN"))
        await until(lambda: _waits_for_the_head(database))
        trying.cancel()
        await asyncio.wait([trying])
        let_go.set()
    await until(lambda: _count(database, 2))

    assert trying.cancelled()
    assert ["job.cancel", "job.delete"] == [each.action for each in await entries(database)]


async def _waits_for_the_head(database: Database) -> bool:
    async with database.system() as tx:
        return bool(
            await tx.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))
        )


async def _count(database: Database, wanted: int) -> bool:
    return wanted == len(await entries(database))


async def test_an_entry_says_who_what_how_and_under_which_key(database: Database, keys: Seals) -> None:
    actor, target = uuid4(), str(uuid4())
    called = entry(actor=actor, target=target, role="operator", key="k" * 20, trace_id="abc", details={"n": 1})
    async with database.transaction("default") as tx:
        await Audit(database, keys).done(tx, called, b'{"job":{"id":"%s","title":"x"},"n":2}' % target.encode())

    [found] = await entries(database)

    assert (1, actor, "operator", "job.cancel", target, "done", None, "abc") == (
        found.seq,
        found.actor_id,
        found.role,
        found.action,
        found.target,
        found.outcome,
        found.code,
        found.trace_id,
    )
    assert ({"n": 1}, {"job": target, "n": 2}) == (found.details, found.result)
    assert hashlib.sha256(b"k" * 20).digest() == found.key_hash


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"count": 3, "ok": True, "share": 0.5, "nothing": None}, {"count": 3, "ok": True, "share": 0.5}),
        ({"id": str(UUID(int=5)), "title": "Mrs. Miller", "status": "queued"}, {"id": str(UUID(int=5))}),
        ({"jobs": [{"id": 1, "title": "x"}], "none": []}, {"jobs": 1, "none": 0}),
        ({"job": {"id": str(UUID(int=5)), "title": "x"}, "what": {"deep": {"token": "x"}}}, {"job": str(UUID(int=5))}),
        ({"job": {"id": "Mrs. Miller"}}, {}),
        ([1, 2], {}),
        (None, {}),
    ],
)
def test_of_an_answer_ids_and_numbers_are_kept(answer: Any, kept: dict[str, Any]) -> None:
    assert kept == outline(msgspec.json.encode(answer))


async def identities(database: Database, keys: Seals, tenant: str = "default") -> dict[int, tuple[str, str]]:
    """From where the entries came that can still be told, by number."""
    found = await entries(database, tenant)
    async with database.transaction(tenant) as tx:
        known = await Audit(database, keys).identities(tx, {e.commitment for e in found if e.commitment})
    return {
        each.seq: (known[each.commitment].address, known[each.commitment].user_agent)
        for each in found
        if each.commitment in known
    }


async def test_from_where_somebody_called_can_be_told_by_who_has_the_keys(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 1, user_agent="u" * 2000)
    await recorded(database, keys, 1, address="")

    assert {1: ("192.0.2.7", "u" * 500)} == await identities(database, keys)
    assert {} == await identities(database, seals())


async def test_who_calls_twice_from_one_place_is_kept_once(database: Database, keys: Seals) -> None:
    await asyncio.gather(*(recorded(database, keys, 3) for _ in range(5)))
    await recorded(database, keys, 1, address="192.0.2.8")

    found = await entries(database)
    assert 2 == len({each.commitment for each in found})


async def test_a_user_who_is_erased_leaves_the_trail_as_it_was(database: Database, keys: Seals, tmp_path: Path) -> None:
    somebody, else_ = UUID(int=1), UUID(int=2)
    await recorded(database, keys, 2, actor=somebody)
    await recorded(database, keys, 1, actor=somebody, address="192.0.2.8")
    await recorded(database, keys, 1, actor=else_)
    before = [each.hash for each in await entries(database)]

    erased = await Audit(database, keys).erase("default", actor=somebody, address=None, trace_id="t")

    after = await entries(database)
    assert 2 == erased
    assert {4: ("192.0.2.7", "curl/8")} == await identities(database, keys)
    assert before == [each.hash for each in after[:4]]
    assert ("audit.erase", str(somebody), {"erased": 2}) == (after[4].action, after[4].target, after[4].result)


async def test_who_was_at_an_address_can_be_erased_without_naming_it(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 1, actor=UUID(int=1))
    await recorded(database, keys, 1, actor=UUID(int=2), address="192.0.2.8")
    await recorded(database, keys, 1, tenant="other")

    assert 1 == await Audit(database, keys).erase("default", actor=None, address="192.0.2.7", trace_id="t")
    assert {2: ("192.0.2.8", "curl/8")} == await identities(database, keys)
    assert {1: ("192.0.2.7", "curl/8")} == await identities(database, keys, "other")
    assert "192.0.2" not in str(await entries(database))


async def test_who_comes_back_after_being_erased_is_somebody_new(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 1)
    await Audit(database, keys).erase("default", actor=None, address="192.0.2.7", trace_id="t")
    await recorded(database, keys, 1)

    assert [3] == [*await identities(database, keys)]


async def told_of(database: Database) -> list[Event]:
    async with database.transaction("default") as tx:
        return await events.after(tx, START)


async def test_each_entry_but_those_of_sessions_is_told_without_what_was_asked_for(
    database: Database, keys: Seals
) -> None:
    """Who watches hears that a thing was done or refused; details, address and key are for who may read the trail."""
    trail = Audit(database, keys)
    cancelled = entry(key="a-secret-key-of-mine", details={"reason": "because"})
    stopped = entry(action="queue.pause", target=None)
    async with database.transaction("default") as tx:
        await trail.done(tx, cancelled, b'{"number":7}')
        await trail.done(tx, entry(action="session.renew"), b"{}")
    await trail.refused(stopped, Outcome.DENIED, "FORBIDDEN")

    done, denied = await told_of(database)
    assert (cancelled.target, cancelled.actor) == (done.entity_id, done.owner_id)
    assert ("queue.pause", "action_executed") == (denied.entity_id, denied.kind)
    as_done = {"action": "job.cancel", "target": cancelled.target, "outcome": "done", "code": None, "role": "admin"}
    as_denied = {"action": "queue.pause", "target": None, "outcome": "denied", "code": "FORBIDDEN", "role": "admin"}
    assert [as_done, as_denied] == [done.payload, denied.payload]


@pytest.mark.parametrize("mishap", [crash, cut, fail, refuse])
async def test_what_is_rolled_back_is_told_by_nobody(database: Database, keys: Seals, mishap: Mishap) -> None:
    trail = Audit(database, keys)

    async def carried() -> None:
        async with database.transaction("default") as tx:
            await trail.done(tx, entry(), b"{}")
            await mishap(tx)

    with pytest.raises((Crash, DatabaseUnavailable, sa.exc.DBAPIError, Conflict)):
        await carried()

    assert [] == await told_of(database)
