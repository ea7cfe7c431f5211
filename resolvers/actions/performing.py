"""From what a client sent to what an action did: the one way to carry out a row of the catalogue.

The caller was let pass before, by the plan of the whole operation (`schema.plan`); an action that no plan has admitted
is not carried out, however it was reached.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from db import operations
from db.database import Transaction
from db.operations import Operation
from db.rows import Row
from guards.audit import Entry
from guards.chain import Answered, Done
from guards.errors import Forbidden, NotFound, Refusal
from guards.replays import Key, fingerprint
from resolvers.actions import reading
from resolvers.actions.contract import Action, Call, Idempotency, Payload, Work
from resolvers.context import Context

R = TypeVar("R", bound=Row)
S = TypeVar("S", bound=Row)

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
    return await (_later if action.long else _now)(context, action, payload, key, place)


def entry_of(context: Context, action: Action[Any, Any], payload: Payload | None, *, key: str | None = None) -> Entry:
    """What is put on record of a call; without a payload, of one that never got so far."""
    details = {} if payload is None else reading.kept(payload)
    target = None if payload is None or action.target is None else getattr(payload, action.target)
    return context.entry(action.name, target, details=details, key=key)


def _key(context: Context, action: Action[Any, Any], payload: Payload, text: str | None) -> Key | None:
    if text is None or action.idempotency is Idempotency.NATURAL:
        return None
    return Key(
        principal=context.caller.user_id,
        text=text,
        action=action.name,
        fingerprint=fingerprint(action.name, payload),
    )


async def _now(context: Context, action: Action[Any, R], payload: Payload, key: Key | None, place: str) -> Performed[R]:
    assert action.carried is not None
    carried, preparing, prepared = action.carried, action.prepare, None

    async def prepare() -> None:
        nonlocal prepared
        assert preparing is not None
        prepared = await preparing(context, payload)

    async def effect(tx: Transaction) -> Answered:
        call: Call[R] = Call(context, tx, prepared)
        result = await carried(call, payload)
        finish = None if call.finishing is None else partial(_finished, call.finishing, result)
        return Answered(msgspec.json.encode(result), finish)

    done = await context.services.chain.admit(
        entry_of(context, action, payload, key=None if key is None else key.text),
        effect,
        key=key,
        prepare=None if preparing is None else prepare,
        depends_on=action.depends_on,
    )
    # Also what was carried out just now is read from its JSON: a second call must get the very same.
    return Performed(_told(context, place, done, action.result), replayed=done.replayed)


async def _finished(finishing: Callable[[R], Awaitable[R]], result: R) -> bytes:
    return msgspec.json.encode(await finishing(result))


async def _later(
    context: Context, action: Action[Any, R], payload: Payload, key: Key | None, place: str
) -> Performed[R]:
    assert action.carried_later is not None
    carried = action.carried_later
    caller, breakers = context.caller, context.services.breakers
    entry = entry_of(context, action, payload, key=None if key is None else key.text)

    async def prepare() -> None:
        await breakers.require(action.depends_on)
        if action.prepare is not None:
            # What is refused here is refused to the caller, not to an operation that nobody would look at.
            await action.prepare(context, payload)

    async def effect(tx: Transaction) -> Answered:
        operation = await operations.add(tx, action.name, actor=caller.user_id, trace_id=context.trace_id)

        async def work() -> Mapping[str, Any]:
            async with breakers.through(action.depends_on, lasting=True):
                result = await carried(Work(context, operation), payload)
            plain: dict[str, Any] = msgspec.to_builtins(result)
            return plain

        async def begin() -> None:
            context.services.operations.begin(operation, work, entry)

        tx.after_commit(begin)
        return Answered(msgspec.json.encode(Begun(operation.id)))

    done = await context.services.chain.admit(
        entry,
        effect,
        key=key,
        prepare=None if action.depends_on is None and action.prepare is None else prepare,
    )
    operation = await _followed(context, _told(context, place, done, Begun))
    result = None if operation.result is None else msgspec.convert(operation.result, type=action.result)
    return Performed(result, operation, replayed=done.replayed)


async def _followed(context: Context, begun: Begun) -> Operation:
    """How an operation stands now, or once it has ended if that is soon."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        operation = await operations.by_id(tx, begun.operation_id)
    if operation is None:
        raise NotFound(f"operation {begun.operation_id} is no longer on record")
    return await context.services.operations.ended(operation, within_s=PATIENCE_S)


def _told(context: Context, place: str, done: Done, kind: type[S]) -> S:
    """What an action has answered; that it is told again is noted beside.

    Raises:
        Refusal: it was answered with that the first time.
    """
    if done.replayed:
        context.replayed.add(place)
    if done.refusal is not None:
        raise done.refusal
    return msgspec.json.decode(done.answer, type=kind)
