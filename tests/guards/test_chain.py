"""The guards in their order, and what is kept, told and on record at each of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from db import breakers as decisions
from db import system_events
from db.database import Database, Transaction
from db.models.audit import audit
from db.models.guards import replays
from db.models.records import Severity
from db.models.records import system_events as effects
from db.redis import Redis
from guards.audit import Audit
from guards.breakers import Breakers, Dependency, Outcome
from guards.chain import NOTHING_DONE, UNDECIDED, Answered, Chain, Done
from guards.errors import (
    CircuitOpen,
    Conflict,
    InProgress,
    KeyReused,
    NotFound,
    QuotaExceeded,
    Refusal,
    TooLarge,
    Unavailable,
    Unsupported,
)
from guards.replays import Key, Replays
from resolvers.context import Services
from tests.trails import entry, seals
from tests.uploading import services_over


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


@pytest.fixture
def chain(services: Services) -> Chain:
    """The chain of one process."""
    return services.chain


def key(text: str = "a-key-of-sixteen", *, means: int = 1, principal: int = 7) -> Key:
    return Key(principal=UUID(int=principal), text=text, action="job.cancel", fingerprint=bytes([means]) * 32)


async def noted(tx: Transaction, text: str = "effect") -> None:
    await system_events.record(tx, "tried", Severity.INFO, "test", text)


async def done(tx: Transaction) -> Answered:
    """An action that does something."""
    await noted(tx)
    return Answered(b'{"n":1}')


def refusing(refusal: BaseException) -> Callable[[Transaction], Awaitable[Answered]]:
    """An action that does something and then says no."""

    async def refused(tx: Transaction) -> Answered:
        await noted(tx)
        raise refusal

    return refused


async def never() -> None:
    raise AssertionError("this was not to be reached")


async def never_done(tx: Transaction) -> Answered:
    await never()
    return Answered(b"")


async def effects_left(database: Database) -> int:
    async with database.transaction("default") as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(effects)))


async def outcomes(database: Database) -> list[tuple[str, str | None]]:
    """What is on record, in its order."""
    async with database.transaction("default") as tx:
        rows = await tx.rows(sa.select(audit.c.outcome, audit.c.code).order_by(audit.c.seq))
    return [(outcome, code) for outcome, code in rows]


async def keys_kept(database: Database) -> int:
    async with database.transaction("default") as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(replays)))


async def test_what_is_asked_for_again_is_told_again_and_is_on_record_once(chain: Chain, database: Database) -> None:
    first = await chain.admit(entry(), done, key=key())
    second = await chain.admit(entry(), never_done, key=key(), prepare=never, depends_on=Dependency.FILES)

    assert Done(answer=b'{"n":1}') == first
    assert Done(answer=b'{"n":1}', replayed=True) == second
    assert (1, [("done", None)]) == (await effects_left(database), await outcomes(database))


async def test_without_a_key_it_is_done_again(chain: Chain, database: Database) -> None:
    for _ in range(2):
        await chain.admit(entry(), done, key=None)

    assert (2, 0) == (await effects_left(database), await keys_kept(database))


async def test_the_same_key_for_another_call_is_refused_and_on_record(chain: Chain, database: Database) -> None:
    await chain.admit(entry(), done, key=key())
    for prepare in (None, never):
        with pytest.raises(KeyReused):
            await chain.admit(entry(), never_done, key=key(means=2), prepare=prepare)

    assert [("done", None), *[("refused", "IDEMPOTENCY_MISMATCH")] * 2] == await outcomes(database)
    assert 1 == await effects_left(database)


async def test_the_same_key_of_somebody_else_is_another(chain: Chain, database: Database) -> None:
    for principal in (7, 8):
        assert not (await chain.admit(entry(), done, key=key(principal=principal))).replayed

    assert 2 == await effects_left(database)


async def test_a_second_call_at_the_same_time_is_told_at_once_that_the_first_is_not_over(
    chain: Chain, database: Database
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction) -> Answered:
        begun.set()
        await go.wait()
        return await done(tx)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(chain.admit(entry(), slow, key=key()))
        await begun.wait()
        with pytest.raises(InProgress) as refused:
            await chain.admit(entry(), never_done, key=key())
        go.set()

    assert (1, "IDEMPOTENCY_IN_PROGRESS") == (refused.value.retry_after, refused.value.code)
    assert not first.result().replayed
    assert 1 == await effects_left(database)


@pytest.mark.parametrize("kind", [NotFound, TooLarge, Unsupported])
async def test_a_refusal_that_is_a_fact_is_an_answer_and_told_again(
    chain: Chain, database: Database, kind: type[Refusal]
) -> None:
    with pytest.raises(kind):
        await chain.admit(entry(), refusing(kind("job 7 is not there", retry_after=3)), key=key())
    again = await chain.admit(entry(), never_done, key=key())

    assert again.replayed
    assert isinstance(again.refusal, kind)
    assert ("job 7 is not there", 3) == (str(again.refusal), again.refusal.retry_after)
    assert (0, [("refused", kind.code)]) == (await effects_left(database), await outcomes(database))


@pytest.mark.parametrize(
    "error",
    [Conflict("not now"), QuotaExceeded("full"), Unavailable("away"), RuntimeError("a fault of ours")],
    ids=lambda error: type(error).__name__,
)
async def test_after_any_other_failure_the_key_is_free_and_nothing_was_done(
    chain: Chain, database: Database, error: Exception
) -> None:
    with pytest.raises(type(error)):
        await chain.admit(entry(), refusing(error), key=key())
    before = await effects_left(database), await keys_kept(database)
    again = await chain.admit(entry(), done, key=key())

    assert (0, 0) == before
    assert not again.replayed
    assert 1 == await effects_left(database)


async def test_a_refusal_leaves_no_bell_to_ring(chain: Chain) -> None:
    async def refused(tx: Transaction) -> Answered:
        tx.after_commit(never)
        raise NotFound("job 7")

    with pytest.raises(NotFound):
        await chain.admit(entry(), refused, key=key())


async def test_an_answer_is_told_again_as_it_was_completed(chain: Chain) -> None:
    async def finish() -> bytes:
        with pytest.raises(InProgress):
            await chain.admit(entry(), never_done, key=key())
        with pytest.raises(KeyReused):
            await chain.admit(entry(), never_done, key=key(means=2))
        return b'{"obeyed":3}'

    async def begun(tx: Transaction) -> Answered:
        return Answered(b'{"obeyed":0}', finish)

    first = await chain.admit(entry(), begun, key=key())
    again = await chain.admit(entry(), never_done, key=key())

    assert (b'{"obeyed":3}', b'{"obeyed":3}', True) == (first.answer, again.answer, again.replayed)


@pytest.mark.parametrize("error", [TimeoutError(), Unavailable("away"), Conflict("somebody was quicker")])
async def test_what_is_done_is_done_though_its_answer_could_not_be_completed(
    chain: Chain, services: Services, database: Database, error: Exception
) -> None:
    async def finish() -> bytes:
        raise error

    async def begun(tx: Transaction) -> Answered:
        await noted(tx)
        return Answered(b'{"obeyed":0}', finish)

    first = await chain.admit(entry(), begun, key=key(), depends_on=Dependency.WORKERS)
    again = await chain.admit(entry(), never_done, key=key())

    assert (b'{"obeyed":0}', b'{"obeyed":0}') == (first.answer, again.answer)
    assert [("done", None)] == await outcomes(database)
    counted = Outcome.DONE if isinstance(error, Conflict) else Outcome.FAILED
    assert {counted: 1} == services.breakers.of[Dependency.WORKERS].totals


async def isolated(services: Services, dependency: Dependency) -> None:
    async with services.database.system() as tx:
        await decisions.decide(tx, dependency, isolated=True, reason=None, by=None)
    await services.breakers.look(again=True)


async def test_what_is_left_alone_is_not_used_but_what_it_once_answered_is_told(
    chain: Chain, services: Services, database: Database
) -> None:
    await chain.admit(entry(), done, key=key(), depends_on=Dependency.FILES)
    await isolated(services, Dependency.FILES)

    again = await chain.admit(entry(), never_done, key=key(), depends_on=Dependency.FILES)
    with pytest.raises(CircuitOpen):
        await chain.admit(entry(), never_done, key=None, prepare=never, depends_on=Dependency.FILES)
    other = await chain.admit(entry(), done, key=None, depends_on=Dependency.REDIS)

    assert (True, False) == (again.replayed, other.replayed)
    assert [("done", None), ("refused", "CIRCUIT_OPEN"), ("done", None)] == await outcomes(database)


async def test_ten_failures_of_a_dependency_are_enough(chain: Chain, database: Database) -> None:
    for _ in range(10):
        with pytest.raises(OSError, match="no space"):
            await chain.admit(entry(), refusing(OSError("no space")), key=None, depends_on=Dependency.FILES)
    with pytest.raises(CircuitOpen):
        await chain.admit(entry(), never_done, key=None, depends_on=Dependency.FILES)

    assert 0 == await effects_left(database)


async def test_ten_refusals_are_no_failures(chain: Chain) -> None:
    for _ in range(10):
        with pytest.raises(Conflict):
            await chain.admit(entry(), refusing(Conflict("no")), key=None, depends_on=Dependency.FILES)

    assert not (await chain.admit(entry(), done, key=None, depends_on=Dependency.FILES)).replayed


async def test_what_is_prepared_in_vain_is_on_record_as_refused(chain: Chain, database: Database) -> None:
    async def prepare() -> None:
        raise Conflict("there is no room")

    with pytest.raises(Conflict):
        await chain.admit(entry(), never_done, key=key(), prepare=prepare)

    assert ([("refused", "CONFLICT")], 0) == (await outcomes(database), await keys_kept(database))


async def cut(tx: Transaction) -> None:
    """Have the server end this very connection, as when it, or the way to it, goes down."""
    pid = await tx.scalar(sa.text("SELECT pg_backend_pid()"))
    await tx.scalar(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


async def test_without_the_database_nothing_is_done_and_the_caller_is_told_so(chain: Chain, database: Database) -> None:
    async def broken(tx: Transaction) -> Answered:
        await noted(tx)
        await tx.execute(sa.text("RESET ROLE"))
        await cut(tx)
        return Answered(b"{}")

    with pytest.raises(Unavailable) as refused:
        await chain.admit(entry(), broken, key=key())

    assert (NOTHING_DONE, 1) == (str(refused.value), refused.value.retry_after)
    assert (0, 0) == (await effects_left(database), await keys_kept(database))


@asynccontextmanager
async def unheard(database_url: str) -> AsyncIterator[Database]:
    """A database on a wire that is cut when it has taken a commit, before it can say so."""
    given = make_url(database_url)
    socket = given.query.get("host")

    async def carry(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if socket is None:
            reader, writer = await asyncio.open_connection(given.host, given.port or 5432)
        else:
            path = f"{socket}/.s.PGSQL.{given.query.get('port', 5432)}"
            reader, writer = await asyncio.open_unix_connection(path)
        committing = asyncio.Event()

        async def ask() -> None:
            while said := await client.read(65_536):
                if b"COMMIT" in said:
                    committing.set()
                writer.write(said)

        asking = asyncio.create_task(ask())
        while (answer := await reader.read(65_536)) and not committing.is_set():
            back.write(answer)
        back.close()
        writer.close()
        await asking

    listening = await asyncio.start_server(carry, "127.0.0.1")
    port = listening.sockets[0].getsockname()[1]
    database = Database.connect(
        given.set(host="127.0.0.1", port=port, query={"ssl": "disable"}).render_as_string(hide_password=False)
    )
    try:
        yield database
    finally:
        await database.close()
        listening.close()
        await listening.wait_closed()


async def test_what_was_committed_unheard_is_not_called_undone(
    chain: Chain, database: Database, database_url: str
) -> None:
    """To say that nothing was done would be a lie: asked again, it turns out to be done."""
    async with unheard(database_url) as on_the_wire:
        far = Chain(on_the_wire, Replays(), Audit(on_the_wire, seals()), Breakers(database))
        with pytest.raises(Unavailable) as refused:
            await far.admit(entry(), done, key=key())
    again = await chain.admit(entry(), never_done, key=key())

    assert (UNDECIDED, 1) == (str(refused.value), refused.value.retry_after)
    assert again.replayed
    assert (1, [("done", None)]) == (await effects_left(database), await outcomes(database))
