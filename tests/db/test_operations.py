"""Operations on record: how far each is, and which have lost their process."""

import asyncio
from uuid import uuid4

import sqlalchemy as sa

from db import events, operations
from db.database import Database
from db.events import START, Kind
from db.models.guards import OperationState
from db.operations import Operation
from tests.waiting import eventually


async def begun(database: Database, tenant: str) -> Operation:
    async with database.transaction(tenant) as tx:
        return await operations.add(tx, "database.vacuum", actor=None, trace_id="t")


async def found(database: Database, operation: Operation) -> Operation:
    async with database.transaction(operation.tenant_id) as tx:
        seen = await operations.by_id(tx, operation.id)
    assert seen is not None
    return seen


async def lease_ended(database: Database, operation: Operation) -> None:
    async with database.system() as tx:
        await tx.execute(
            sa.text("UPDATE operations SET lease_until = now() - interval '1 second' WHERE id = :id"),
            {"id": operation.id},
        )


async def test_a_new_operation_is_running(database: Database, tenant: str) -> None:
    made = await begun(database, tenant)

    assert (OperationState.RUNNING, 0.0, None, None) == (made.state, made.progress, made.result, made.finished_at)


async def test_progress_only_grows(database: Database, tenant: str) -> None:
    made = await begun(database, tenant)
    for share in (0.5, 0.2):
        async with database.transaction(tenant) as tx:
            await operations.report(tx, made.id, progress=share, message=f"at {share}")

    seen = await found(database, made)
    assert (0.5, "at 0.2") == (seen.progress, seen.message)


async def test_an_operation_ends_once(database: Database, tenant: str) -> None:
    made = await begun(database, tenant)
    async with database.transaction(tenant) as tx:
        done = await operations.finish(tx, made.id, {"size": 7})
        late = await operations.fail(tx, made.id, code="X", message="too late")

    assert done is not None
    assert (OperationState.DONE, 1.0, {"size": 7}) == (done.state, done.progress, done.result)
    assert late is None
    assert OperationState.DONE is (await found(database, made)).state


async def test_one_without_its_process_is_interrupted(database: Database, tenant: str) -> None:
    gone, kept = await begun(database, tenant), await begun(database, tenant)
    await lease_ended(database, gone)
    await lease_ended(database, kept)
    async with database.system() as tx:
        await operations.keep(tx, [kept.id])
        forsaken = await operations.forsaken(tx)
    async with database.transaction(tenant) as tx:
        reaped = await operations.reap(tx)
        again = await operations.reap(tx)

    assert ([tenant], [gone.id], []) == (forsaken, [each.id for each in reaped], again)
    assert OperationState.INTERRUPTED is (await found(database, gone)).state
    assert OperationState.RUNNING is (await found(database, kept)).state


async def test_one_whose_process_was_only_late_goes_on(roomy: Database, tenant: str) -> None:
    """It says so just while the reaper looks: what was true when the reaper began to look is true no more."""
    late = await begun(roomy, tenant)
    await lease_ended(roomy, late)

    async def reap() -> list[Operation]:
        async with roomy.system() as tx:
            return await operations.reap(tx)

    async with roomy.system() as tx:
        await operations.keep(tx, [late.id])
        reaping = asyncio.create_task(reap())
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        await eventually(lambda: tx.scalar(waiting), bool)

    assert [] == await reaping
    assert OperationState.RUNNING is (await found(roomy, late)).state


async def test_another_tenant_s_operation_is_not_there(database: Database, tenant: str) -> None:
    made = await begun(database, tenant)
    async with database.transaction("other") as tx:
        assert None is await operations.by_id(tx, made.id)
        assert None is await operations.by_id(tx, uuid4())


async def test_every_change_is_told(database: Database, tenant: str) -> None:
    made = await begun(database, tenant)
    async with database.transaction(tenant) as tx:
        await operations.report(tx, made.id, progress=0.5, message=None)
    async with database.transaction(tenant) as tx:
        await operations.finish(tx, made.id, {})

    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.OPERATION_CHANGED]
    assert [("running", 0.0), ("running", 0.5), ("done", 1.0)] == [
        (event.payload["state"], event.payload["progress"]) for event in told
    ]
