"""What outlives its call is carried out, and how it went is on record, whatever becomes of it."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import audit, operations
from db.database import Database, DatabaseUnavailable, Transaction
from db.models.guards import OperationState
from db.models.guards import operations as rows
from db.models.identity import Role, users
from db.operations import Operation
from db.pages import Order, Window
from guards.audit import Audit, Entry, Outcome
from guards.errors import Conflict
from resolvers.operations import ENDED, Carried, Operations
from tests.trails import seals
from tests.waiting import eventually

ACTOR = UUID(int=7)
ASKED = Entry(
    tenant="default",
    actor=ACTOR,
    role="admin",
    action="database.vacuum",
    target=None,
    details={},
    trace_id="trace",
    address="192.0.2.7",
    user_agent="browser",
)


@pytest_asyncio.fixture(autouse=True)
async def actor(database: Database) -> None:
    """Whoever asks, with an id that is known beforehand."""
    async with database.transaction("default") as tx:
        await tx.execute(
            sa.insert(users).values(id=ACTOR, tenant_id="default", email="who@default.test", name="", role=Role.ADMIN)
        )


def carrier_over(database: Database) -> Operations:
    return Operations(database, Audit(database, seals()))


async def begun(database: Database, carrier: Operations, carried: Carried) -> Operation:
    operation = await added(database)
    carrier.begin(operation, carried, ASKED)
    return operation


async def added(database: Database, tenant: str = "default") -> Operation:
    async with database.transaction(tenant) as tx:
        return await operations.add(tx, "database.vacuum", actor=ACTOR, trace_id="trace")


async def lease_ended(database: Database, *gone: Operation) -> None:
    async with database.system() as tx:
        late = sa.func.now() - timedelta(seconds=1)
        await tx.execute(sa.update(rows).where(rows.c.id.in_([each.id for each in gone])).values(lease_until=late))


async def trail(database: Database, tenant: str = "default") -> list[audit.Entry]:
    """What is on record, from its beginning."""
    async with database.transaction(tenant) as tx:
        return (await audit.listed(tx, audit.Filter(), Order("seq", descending=False), Window())).items


def told(entry: audit.Entry) -> tuple[Any, ...]:
    return entry.actor_id, entry.role, entry.action, entry.target, entry.trace_id, entry.details


def end_of(operation: Operation, role: str | None = "admin") -> tuple[Any, ...]:
    """The same as it must be for the end of an operation."""
    return ACTOR, role, ENDED, str(operation.id), "trace", {"action": "database.vacuum"}


async def test_what_it_answers_is_on_record(database: Database) -> None:
    async def work() -> Mapping[str, Any]:
        return {"size": 7}

    carrier = carrier_over(database)
    ended = await carrier.ended(await begun(database, carrier, work), within_s=15)

    assert (OperationState.DONE, {"size": 7}) == (ended.state, ended.result)
    [entry] = await trail(database)
    assert end_of(ended) == told(entry)
    assert ("done", None, {"size": 7}) == (entry.outcome, entry.code, entry.result)
    assert entry.commitment is not None


async def test_who_does_not_want_to_wait_is_told_how_far_it_is(database: Database) -> None:
    go_on = asyncio.Event()
    carrier = carrier_over(database)

    async def work() -> Mapping[str, Any]:
        await go_on.wait()
        return {}

    operation = await begun(database, carrier, work)
    await carrier.report(operation, 0.25, "half of the half")
    early = await carrier.ended(operation, within_s=0.01)
    go_on.set()
    late = await carrier.ended(operation, within_s=15)

    assert (OperationState.RUNNING, 0.25, "half of the half") == (early.state, early.progress, early.message)
    assert OperationState.DONE is late.state


@pytest.mark.parametrize(
    ("trouble", "outcome", "code"),
    [
        (Conflict("the table is locked"), "refused", "CONFLICT"),
        (RuntimeError("oops"), "failed", "INTERNAL_ERROR"),
    ],
)
async def test_a_failure_is_on_record_without_our_insides(
    database: Database, trouble: Exception, outcome: str, code: str
) -> None:
    async def work() -> Mapping[str, Any]:
        raise trouble

    carrier = carrier_over(database)
    ended = await carrier.ended(await begun(database, carrier, work), within_s=15)

    assert (OperationState.FAILED, code) == (ended.state, ended.error_code)
    assert "oops" not in (ended.error_message or "")
    [entry] = await trail(database)
    assert (*end_of(ended), outcome, code, {}) == (*told(entry), entry.outcome, entry.code, entry.result)


async def test_what_is_at_work_when_the_process_ends_is_given_up(database: Database) -> None:
    carrier = carrier_over(database)
    running = asyncio.create_task(carrier.run())

    async def work() -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    operation = await begun(database, carrier, work)

    async def ended() -> Operation:
        return await carrier.ended(operation, within_s=0)

    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    seen = await eventually(ended, lambda found: found.state is not OperationState.RUNNING)

    assert (OperationState.FAILED, "INTERRUPTED") == (seen.state, seen.error_code)
    [entry] = await trail(database)
    assert (*end_of(seen), "failed", "INTERRUPTED") == (*told(entry), entry.outcome, entry.code)


async def test_what_lost_its_process_is_put_on_the_record_of_its_tenant_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes look after operations at once; of one that was killed nothing but its rows is known."""
    monkeypatch.setattr("resolvers.operations.KEEP_EVERY_S", 0.02)
    gone = await added(database), await added(database, "other")
    kept = await added(database)
    await lease_ended(database, *gone)
    looking = [asyncio.create_task(carrier_over(database).run()) for _ in range(2)]
    try:
        for operation in gone:
            [entry] = await eventually(partial(trail, database, operation.tenant_id), bool)
            assert (*end_of(operation, role=None), "failed", "INTERRUPTED") == (
                *told(entry),
                entry.outcome,
                entry.code,
            )
            assert entry.commitment is None
    finally:
        for task in looking:
            task.cancel()
        await asyncio.wait(looking)

    assert [1, 1] == [len(await trail(database, tenant)) for tenant in ("default", "other")]
    async with database.transaction("default") as tx:
        seen = await operations.by_id(tx, kept.id)
    assert seen is not None
    assert OperationState.RUNNING is seen.state


async def test_an_end_that_cannot_be_put_on_the_trail_is_none(database: Database) -> None:
    """Row and entry are one transaction: the operation stays at work until the reaper finds it."""

    class Full(Audit):
        async def failed(self, tx: Transaction, entry: Entry, outcome: Outcome, code: str) -> None:
            raise DatabaseUnavailable("no room for another entry")

    async def work() -> Mapping[str, Any]:
        raise Conflict("the table is locked")

    carrier = Operations(database, Full(database, seals()))
    ended = await carrier.ended(await begun(database, carrier, work), within_s=15)

    assert (OperationState.RUNNING, []) == (ended.state, await trail(database))
