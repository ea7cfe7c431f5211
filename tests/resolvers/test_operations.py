"""What outlives its call is carried out, and how it went is on record, whatever becomes of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from db import operations
from db.database import Database
from db.models.guards import OperationState
from db.operations import Operation
from guards.errors import Conflict
from resolvers.operations import Carried, Operations
from tests.waiting import eventually


async def begun(database: Database, carrier: Operations, carried: Carried) -> Operation:
    async with database.transaction("default") as tx:
        operation = await operations.add(tx, "database.vacuum", actor=None, trace_id=None)
    carrier.begin(operation, carried)
    return operation


async def test_what_it_answers_is_on_record(database: Database) -> None:
    async def work() -> Mapping[str, Any]:
        return {"size": 7}

    carrier = Operations(database)
    ended = await carrier.ended(await begun(database, carrier, work), within_s=5)

    assert (OperationState.DONE, {"size": 7}) == (ended.state, ended.result)


async def test_who_does_not_want_to_wait_is_told_how_far_it_is(database: Database) -> None:
    go_on = asyncio.Event()
    carrier = Operations(database)

    async def work() -> Mapping[str, Any]:
        await go_on.wait()
        return {}

    operation = await begun(database, carrier, work)
    await carrier.report(operation, 0.25, "half of the half")
    early = await carrier.ended(operation, within_s=0.01)
    go_on.set()
    late = await carrier.ended(operation, within_s=5)

    assert (OperationState.RUNNING, 0.25, "half of the half") == (early.state, early.progress, early.message)
    assert OperationState.DONE is late.state


@pytest.mark.parametrize(
    ("trouble", "code"), [(Conflict("the table is locked"), "CONFLICT"), (RuntimeError("oops"), "INTERNAL_ERROR")]
)
async def test_a_failure_is_on_record_without_our_insides(database: Database, trouble: Exception, code: str) -> None:
    async def work() -> Mapping[str, Any]:
        raise trouble

    carrier = Operations(database)
    ended = await carrier.ended(await begun(database, carrier, work), within_s=5)

    assert (OperationState.FAILED, code) == (ended.state, ended.error_code)
    assert "oops" not in (ended.error_message or "")


async def test_what_is_at_work_when_the_process_ends_is_given_up(database: Database) -> None:
    carrier = Operations(database)
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
