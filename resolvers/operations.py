"""Carrying out what outlives its call: an operation runs in the process that was asked for it, and is on record.

Its row is written by the call; what runs here only reports to it. A process that ends gives its operations up as
interrupted, and so does the reaper for one that was killed: none of them is begun a second time by itself, because
half a restore is nobody's to go on with. How it ended is put on the audit trail in the transaction that says so, beside
the entry of the call that began it. PostgreSQL away: the work goes on, what is reported meanwhile is not seen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from db import operations
from db.database import Database
from db.health import DATABASE_FAILED
from db.operations import Operation
from db.tasks import going_on
from guards.audit import Audit, Entry, Outcome
from guards.errors import Refusal

KEEP_EVERY_S: Final = 5.0

ENDED: Final = "operation.end"
"""What the audit trail calls the end of one."""

INTERRUPTED: Final = "INTERRUPTED"

Carried = Callable[[], Awaitable[Mapping[str, Any]]]
"""The work itself; returns what it answers, as plain JSON."""

log = logging.getLogger(__name__)


class Operations:
    """The operations of one process; entered for as long as the process serves."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep hold of what is at work until cancelled; then give up what is left."""
        try:
            while going_on():
                await asyncio.sleep(KEEP_EVERY_S)
                await self._keep()
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=5)

    def begin(self, operation: Operation, carried: Carried, asked: Entry) -> None:
        """Carry out an operation whose row is committed.

        Args:
            asked: what is on record of the call that began it.
        """
        end = _end_of(operation, role=asked.role, address=asked.address, user_agent=asked.user_agent)
        task = asyncio.create_task(self._carry(operation, carried, end), name=f"operation {operation.action}")
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))

    async def ended(self, operation: Operation, *, within_s: float) -> Operation:
        """How an operation stands once it has ended, or after `within_s` seconds."""
        task = self._tasks.get(operation.id)
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)
        async with self._database.transaction(operation.tenant_id) as tx:
            return await operations.by_id(tx, operation.id) or operation

    async def report(self, operation: Operation, progress: float, message: str | None = None) -> None:
        """Note how far an operation is; lost, not raised, when PostgreSQL does not answer."""
        try:
            async with self._database.transaction(operation.tenant_id) as tx:
                await operations.report(tx, operation.id, progress=progress, message=message)
        except DATABASE_FAILED as error:
            log.warning("the progress of %s is not on record: %s", operation.action, error)

    async def _carry(self, operation: Operation, carried: Carried, end: Entry) -> None:
        try:
            result = await carried()
        except Refusal as refusal:
            await self._fail(operation, end, Outcome.of(refusal), refusal.code, str(refusal))
        except asyncio.CancelledError:
            # Shielded: nobody else can say so before the lease has run out.
            message = "the process that carried it out was stopped"
            await asyncio.shield(self._fail(operation, end, Outcome.FAILED, INTERRUPTED, message))
            raise
        except Exception:
            log.exception("%s failed", operation.action, extra={"trace_id": operation.trace_id})
            message = "something went wrong on our side; it is on record"
            await self._fail(operation, end, Outcome.FAILED, "INTERNAL_ERROR", message)
        else:
            async with self._database.transaction(operation.tenant_id) as tx:
                if await operations.finish(tx, operation.id, dict(result)) is not None:
                    await self._audit.done(tx, end, msgspec.json.encode(result))

    async def _fail(self, operation: Operation, end: Entry, outcome: Outcome, code: str, message: str) -> None:
        try:
            async with self._database.transaction(operation.tenant_id) as tx:
                if await operations.fail(tx, operation.id, code=code, message=message) is not None:
                    await self._audit.failed(tx, end, outcome, code)
        except DATABASE_FAILED as error:
            log.warning("the end of %s is not on record: %s", operation.action, error)

    async def _keep(self) -> None:
        try:
            async with self._database.system() as tx:
                await operations.keep(tx, list(self._tasks))
                tenants = await operations.forsaken(tx)
            for tenant in tenants:
                await self._reap(tenant)
        except DATABASE_FAILED as error:
            log.warning("operations cannot be looked after: %s", error)

    async def _reap(self, tenant: str) -> None:
        async with self._database.transaction(tenant) as tx:
            for operation in await operations.reap(tx):
                await self._audit.failed(tx, _end_of(operation), Outcome.FAILED, INTERRUPTED)


def _end_of(operation: Operation, *, role: str | None = None, address: str = "", user_agent: str = "") -> Entry:
    """What is put on record of its end; whoever did not begin it does not know from where it was asked for."""
    return Entry(
        tenant=operation.tenant_id,
        actor=operation.actor_id,
        role=role,
        action=ENDED,
        target=str(operation.id),
        details={"action": operation.action},
        trace_id=operation.trace_id,
        address=address,
        user_agent=user_agent,
    )
