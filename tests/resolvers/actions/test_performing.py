"""From a call to what was done: once for each key, however it is repeated, and as it stands now where it takes long."""

import asyncio
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from db import breakers as decisions
from db import queues
from db.database import Database
from db.models.audit import audit
from db.models.guards import OperationState, replays
from db.models.guards import operations as operation_rows
from db.models.identity import Role
from db.redis import Redis
from db.rows import Row
from guards.breakers import BreakerState, Dependency, Outcome
from guards.errors import BadInput, CircuitOpen, Conflict, Forbidden, KeyReused, NotFound
from resolvers.actions.contract import Action, Call, Payload, View, Work, action, operation
from resolvers.actions.performing import Performed, perform
from resolvers.context import Context, Services
from tests.acting import PLACE, act, performed
from tests.conftest import People
from tests.uploading import begun, context_of, sent, video

KEY = "a-key-of-sixteen"


async def count(database: Database, table: sa.Table) -> int:
    async with database.transaction("default") as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(table)))


async def codes(database: Database) -> list[str | None]:
    """How calls went, in their order; None for what was done."""
    async with database.transaction("default") as tx:
        return [code for (code,) in await tx.rows(sa.select(audit.c.code).order_by(audit.c.seq))]


class Said(Payload, frozen=True, kw_only=True):
    """Something to say."""

    word: str = "yes"


class Heard(Row, frozen=True, kw_only=True):
    """What was said."""

    word: str
    share: float = 1.0
    dependency: Dependency = Dependency.WORKERS
    parts: tuple[int, ...] = (1, 2)


async def carry(context: Context, made: Action[Any, Any], *, key: str | None = KEY, **given: Any) -> Performed[Any]:
    """How a row that is in no catalogue is carried out, once the plan has let it pass."""
    context.admitted = {PLACE: key}
    return await perform(context, made, given, place=PLACE)


@action("queue.resume", View.EXTRA)
async def hear(call: Call[Heard], asked: Said) -> Heard:
    """Answer what was said."""
    await queues.mark_resumed(call.tx, by=call.caller.user_id)
    return Heard(word=asked.word)


async def test_an_action_that_no_plan_has_let_pass_is_not_carried_out(admin: Context) -> None:
    for admitted in (None, {"other": None}):
        admin.admitted = admitted
        with pytest.raises(Forbidden):
            await perform(admin, hear, {}, place=PLACE)


async def test_the_second_answer_is_the_first_letter_for_letter(admin: Context) -> None:
    first = await performed(admin, "queue.pause", key=KEY, duration_minutes=5, reason="the disk is full")
    replayed = set(admin.replayed)
    again = await performed(admin, "queue.pause", key=KEY, duration_minutes=5, reason="the disk is full")

    assert (False, set()) == (first.replayed, replayed)
    assert (True, {PLACE}) == (again.replayed, admin.replayed)
    assert msgspec.json.encode(first.result) == msgspec.json.encode(again.result)
    assert first.result == again.result


async def test_a_result_has_the_same_types_the_first_time_and_the_second(admin: Context) -> None:
    for _ in range(2):
        assert Heard(word="no") == (await carry(admin, hear, word="no")).result


async def test_however_it_is_written_it_is_the_same_call_and_a_change_is_another(admin: Context) -> None:
    await carry(admin, hear)

    assert (await carry(admin, hear, word="yes")).replayed
    assert (await carry(admin, hear, word=None)).replayed
    with pytest.raises(KeyReused):
        await carry(admin, hear, word="no")
    with pytest.raises(KeyReused):
        await performed(admin, "queue.pause", key=KEY)


async def test_when_redis_forgets_everything_a_call_is_known_again(admin: Context, redis: Redis) -> None:
    await carry(admin, hear)
    await redis.flushall()

    assert (await carry(admin, hear)).replayed


async def test_the_same_key_of_another_user_is_another(services: Services, people: People) -> None:
    for role in (Role.ADMIN, Role.OPERATOR):
        assert not (await carry(context_of(services, people[role]), hear)).replayed


async def test_a_payload_that_does_not_fit_takes_no_key(admin: Context, database: Database) -> None:
    with pytest.raises(BadInput):
        await carry(admin, hear, word=5)

    assert (0, ["VALIDATION_ERROR"]) == (await count(database, replays), await codes(database))
    assert not (await carry(admin, hear)).replayed


async def test_what_is_not_there_is_not_there_the_second_time_either(admin: Context, database: Database) -> None:
    missing = "00000000-0000-0000-0000-000000000007"
    for _ in range(2):
        with pytest.raises(NotFound):
            await act(admin, "job.cancel", key=KEY, job_id=missing)

    assert ({PLACE}, ["NOT_FOUND"]) == (admin.replayed, await codes(database))


async def test_what_was_prepared_once_is_not_prepared_for_telling_it_again(services: Services, people: People) -> None:
    """An upload is put together before its transaction; its pieces are gone when it is asked for again."""
    context, content = context_of(services, people[Role.USER]), video(2_500)
    upload = await begun(context, content, 1_000)
    await sent(context, upload, content)

    first = await act(context, "upload.finalize", key=KEY, upload_id=str(upload.id))
    async with services.database.transaction("default") as tx:
        await tx.execute(sa.text("DELETE FROM uploads"))
    again = await act(context, "upload.finalize", key=KEY, upload_id=str(upload.id))

    assert first == again


@action("cache.clear", View.EXTRA, depends_on=Dependency.WORKERS)
async def ask(call: Call[Heard], asked: Said) -> Heard:
    """Answer at once, and once more when it has been heard."""

    async def finish(result: Heard) -> Heard:
        if asked.word == "lost":
            raise TimeoutError
        return msgspec.structs.replace(result, share=0.5)

    call.afterwards(finish)
    return Heard(word=asked.word)


@pytest.mark.parametrize(("word", "share"), [("heard", 0.5), ("lost", 1.0)])
async def test_what_was_found_out_afterwards_is_part_of_the_answer(admin: Context, word: str, share: float) -> None:
    first = await carry(admin, ask, word=word)
    again = await carry(admin, ask, word=word)

    assert (False, True) == (first.replayed, again.replayed)
    assert Heard(word=word, share=share) == first.result == again.result


class Workshop:
    """Long work that is held up by the test."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.times = 0
        self.trouble: Exception | None = None
        self.row = operation("database.vacuum", View.EXTRA, depends_on=Dependency.FILES)(self._done)

    async def _done(self, work: Work, asked: Said) -> Heard:
        """Work until it may end."""
        self.times += 1
        self.begun.set()
        await self.go_on.wait()
        if self.trouble is not None:
            raise self.trouble
        return Heard(word=asked.word)


async def test_a_long_one_asked_for_again_is_told_as_it_stands_now(
    admin: Context, services: Services, people: People
) -> None:
    shop = Workshop()
    other = context_of(services, people[Role.ADMIN])
    async with asyncio.TaskGroup() as group:
        first = group.create_task(carry(admin, shop.row))
        await shop.begun.wait()
        second = group.create_task(carry(other, shop.row))
        shop.go_on.set()
    third = await carry(other, shop.row)

    results = [first.result(), second.result(), third]
    assert 1 == shop.times
    assert [False, True, True] == [each.replayed for each in results]
    assert 1 == len({each.operation.id for each in results if each.operation is not None})
    assert [Heard(word="yes")] * 3 == [each.result for each in results]
    assert third.operation is not None
    assert OperationState.DONE is third.operation.state


async def test_a_failed_one_is_told_as_failed_and_not_begun_again(admin: Context, services: Services) -> None:
    shop = Workshop()
    shop.trouble = OSError("no space left")
    shop.go_on.set()
    for _ in range(2):
        told = await carry(admin, shop.row)
        assert told.operation is not None
        assert (OperationState.FAILED, "INTERNAL_ERROR", None) == (
            told.operation.state,
            told.operation.error_code,
            told.result,
        )

    assert 1 == shop.times
    assert {Outcome.FAILED: 1} == services.breakers.of[Dependency.FILES].totals


async def test_a_long_one_counts_when_it_ends_and_not_when_it_is_begun(admin: Context, services: Services) -> None:
    shop, breaker = Workshop(), services.breakers.of[Dependency.FILES]
    shop.trouble = OSError("no space left")
    shop.go_on.set()
    for number in range(10):
        await carry(admin, shop.row, key=f"{KEY}-{number}")

    assert BreakerState.OPEN is breaker.state
    with pytest.raises(CircuitOpen):
        await carry(admin, shop.row, key=None)
    assert 10 == shop.times


async def test_what_is_left_alone_is_not_begun_and_leaves_no_operation(
    admin: Context, services: Services, database: Database
) -> None:
    shop = Workshop()
    async with database.system() as tx:
        await decisions.decide(tx, Dependency.FILES, isolated=True, reason=None, by=None)
    with pytest.raises(CircuitOpen):
        await carry(admin, shop.row)

    assert (0, 0, 0) == (shop.times, await count(database, operation_rows), await count(database, replays))
    assert ["CIRCUIT_OPEN"] == await codes(database)


async def test_an_operation_that_is_no_longer_on_record_is_not_begun_again(admin: Context, database: Database) -> None:
    shop = Workshop()
    shop.go_on.set()
    await carry(admin, shop.row)
    async with database.system() as tx:
        await tx.execute(sa.delete(operation_rows))

    with pytest.raises(NotFound):
        await carry(admin, shop.row)
    assert 1 == shop.times


async def test_what_only_reads_takes_no_key(admin: Context, database: Database) -> None:
    for _ in range(2):
        told = await performed(admin, "manager.performance_metrics", key=KEY)
        assert not told.replayed

    assert 0 == await count(database, replays)


async def test_a_conflict_is_no_answer_and_the_key_stays_free(admin: Context, database: Database) -> None:
    with pytest.raises(Conflict):
        await act(admin, "manager.stop", key=KEY, manager_id="database")

    assert 0 == await count(database, replays)
