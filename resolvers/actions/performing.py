"""From what a client sent to what an action did: the one way to carry out a row of the catalogue.

The caller was let pass before, by the plan of the whole operation (`schema.plan`); an action that no plan has admitted
is not carried out, however it was reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from db import operations
from db.database import Transaction
from db.operations import Operation
from db.rows import Row
from guards.audit import Entry
from guards.chain import Done
from guards.errors import Forbidden, Refusal
from guards.replays import Key, fingerprint
from resolvers.actions import reading
from resolvers.actions.contract import Action, Call, Idempotency, Payload, Work
from resolvers.context import Context

R = TypeVar("R", bound=Row)

PATIENCE_S: Final = 8.0
"""How long a call waits for the operation it began, before it answers without its result."""


class Begun(Row, frozen=True):
    """What a long action answers at once."""

    operation_id: UUID


@dataclass(frozen=True, slots=True)
class Performed(Generic[R]):
    """What an action answers."""

    result: R | None
    """None as long as its operation has not ended."""

    operation: Operation | None = None
    """How far it is, for an action that outlives its call."""

    replayed: bool = False
    """Whether it was carried out before, under the same idempotency key, and this is the answer of then."""


async def perform(
    context: Context, action: Action[Any, R], given: Mapping[str, Any], *, place: str, older: bool = False
) -> Performed[R]:
    """Carry an action out, through every guard.

    Args:
        given: the payload as plain data.
        place: the response key of its field, under which the plan let it pass.
        older: it comes from an older client: other names of fields are understood, unknown ones are passed over.

    Raises:
        Refusal: one of the guards, or the action itself, said no; it is on record.
    """
    admitted = context.admitted
    if admitted is None or place not in admitted:
        raise Forbidden(f"{action.name} was not let pass")
    try:
        payload = reading.payload(action, given, older=older)
    except Refusal as refusal:
        await context.services.chain.refuse(entry_of(context, action, None, key=admitted[place]), refusal)
        raise
    key = _key(context, action, payload, admitted[place])
    performed = await (_later if action.long else _now)(context, action, payload, key)
    if performed.replayed:
        context.replayed.add(place)
    return performed


def entry_of(context: Context, action: Action[Any, Any], payload: Payload | None, *, key: str | None = None) -> Entry:
    """What is put on record of a call; without a payload, of one that never got so far."""
    details = {} if payload is None else reading.kept(payload)
    target = None if payload is None or action.target is None else getattr(payload, action.target)
    return Entry(
        tenant=context.caller.tenant,
        actor=context.caller.user_id,
        role=context.caller.role,
        action=action.name,
        target=None if target is None else str(target),
        details=details,
        trace_id=context.trace_id,
        address=context.address,
        user_agent=context.user_agent,
        key=key,
    )


def _key(context: Context, action: Action[Any, Any], payload: Payload, text: str | None) -> Key | None:
    if text is None or action.idempotency is Idempotency.NATURAL:
        return None
    return Key(
        principal=context.caller.user_id,
        text=text,
        action=action.name,
        fingerprint=fingerprint(action.name, payload),
    )


async def _now(context: Context, action: Action[Any, R], payload: Payload, key: Key | None) -> Performed[R]:
    calls: list[tuple[Call[R], R]] = []
    assert action.carried is not None
    carried, entry = action.carried, entry_of(context, action, payload, key=None if key is None else key.text)
    prepared = await _prepared(context, action, payload, entry)

    async def effect(tx: Transaction) -> bytes:
        call: Call[R] = Call(context, tx, prepared)
        result = await carried(call, payload)
        calls.append((call, result))
        return msgspec.json.encode(result)

    done = await context.services.chain.admit(entry, effect, key=key, depends_on=action.depends_on)
    if done.replayed:
        return Performed(msgspec.json.decode(done.answer, type=action.result), replayed=True)
    [(call, result)] = calls
    if call.finishing is not None:
        result = await call.finishing(result)
        if key is not None:
            await context.services.chain.settle(context.caller.tenant, key, msgspec.json.encode(result))
    return Performed(result)


async def _prepared(context: Context, action: Action[Any, Any], payload: Payload, entry: Entry) -> Any:
    if action.prepare is None:
        return None
    try:
        return await action.prepare(context, payload)
    except Refusal as refusal:
        await context.services.chain.refuse(entry, refusal)
        raise


async def _later(context: Context, action: Action[Any, R], payload: Payload, key: Key | None) -> Performed[R]:
    assert action.carried_later is not None
    carried = action.carried_later
    caller = context.caller

    async def effect(tx: Transaction) -> bytes:
        operation = await operations.add(tx, action.name, actor=caller.user_id, trace_id=context.trace_id)

        async def work() -> Mapping[str, Any]:
            result = await carried(Work(context, operation), payload)
            plain: dict[str, Any] = msgspec.to_builtins(result)
            return plain

        async def begin() -> None:
            context.services.operations.begin(operation, work)

        tx.after_commit(begin)
        return msgspec.json.encode(Begun(operation.id))

    done = await context.services.chain.admit(
        entry_of(context, action, payload, key=None if key is None else key.text),
        effect,
        key=key,
        depends_on=action.depends_on,
    )
    operation = await _followed(context, done)
    result = None if operation.result is None else msgspec.convert(operation.result, type=action.result)
    return Performed(result, operation, replayed=done.replayed)


async def _followed(context: Context, done: Done) -> Operation:
    begun = msgspec.json.decode(done.answer, type=Begun)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        operation = await operations.by_id(tx, begun.operation_id)
    assert operation is not None
    return await context.services.operations.ended(operation, within_s=PATIENCE_S)
