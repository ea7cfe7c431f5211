"""What processes count of their endpoints: exact when added up, never lost, never counted twice, and never much."""

import asyncio
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from db import traffic
from db.database import Database
from db.histograms import ERROR
from db.traffic import HOUR, KEPT, Key, Traffic
from resolvers.traffic import Recorder

JOBS = Key("GET", "/jobs/{job_id}")
CREATE = Key("POST", "/jobs/create")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


def recorder(database: Database, clock: Clock | None = None) -> Recorder:
    """What one more process has."""
    return Recorder(database, uuid4(), clock or Clock())


def count(recorder: Recorder, times: int = 1, key: Key = JOBS, status: int = 200, seconds: float = 0.001) -> None:
    for _ in range(times):
        recorder.record(key, status, seconds, legacy=False)


async def read(database: Database) -> dict[Key, Traffic]:
    async with database.system() as tx:
        return await traffic.by_endpoint(tx, LONG_AGO)


async def requests(database: Database) -> int:
    return sum(counted.requests for counted in (await read(database)).values())


@contextmanager
def turned_away(recorder: Recorder) -> Iterator[None]:
    """The recorder's process finds no database."""
    there, recorder._database = recorder._database, Database.connect(NOWHERE)
    try:
        yield
    finally:
        recorder._database = there


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([JOBS, CREATE]),
        st.sampled_from([200, 201, 204, 304, 400, 404, 429, 499, 500, 503]),
        st.floats(min_value=1e-5, max_value=100),
        st.booleans(),
        st.sampled_from([None, True, False]),
    ),
    max_size=40,
)


@settings(max_examples=25)
@given(processes=st.lists(ANSWERS, min_size=2, max_size=3))
async def test_processes_add_up_to_what_one_list_of_all_answers_says(
    database: Database, processes: list[list[tuple[Key, int, float, bool, bool | None]]]
) -> None:
    """Counts are exact, and quantiles within the stated error of those of the sorted list."""
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM traffic"))
    for answers in processes:
        process = recorder(database)
        for key, status, seconds, legacy, cached in answers:
            process.record(key, status, seconds, legacy=legacy, cached=cached)
        assert await process.flush()

    told = await read(database)

    everything = [answer for answers in processes for answer in answers]
    assert {key for key, *_ in everything} == set(told)
    for key, counted in told.items():
        own = [answer for answer in everything if answer[0] == key]
        by_class = [sum(status // 100 == number for _, status, *_ in own) for number in (2, 3, 4, 5)]
        assert by_class == [counted.succeeded, counted.redirected, counted.refused, counted.failed]
        assert sum(legacy for *_, legacy, _ in own) == counted.legacy
        assert [sum(cached is wanted for *_, cached in own) for wanted in (True, False)] == [
            counted.hits,
            counted.misses,
        ]
        assert sum(round(seconds * 1e6) for _, _, seconds, *_ in own) == counted.took_us
        for share in (0.5, 0.95, 0.99):
            exact_ms = exact([seconds for _, _, seconds, *_ in own], share) * 1000
            # Half a microsecond beside it: figures are told in whole ones.
            assert abs((counted.quantile_ms(share) or 0) - exact_ms) <= ERROR * exact_ms + 0.0006


def exact(durations: Sequence[float], share: float) -> float:
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


async def test_a_restart_keeps_figures(database: Database) -> None:
    before = recorder(database)
    count(before, 3)
    await before.flush()

    after = recorder(database)
    count(after, 2)
    await after.flush()

    assert 5 == await requests(database)


async def test_while_the_database_is_away_nothing_is_lost(database: Database) -> None:
    process = recorder(database)
    count(process, 3)
    with turned_away(process):
        assert not await process.flush()
        count(process, 2)
        assert not await process.flush()

    assert await process.flush()
    assert (5, 0) == (await requests(database), process.waiting)


class Forgetful(Recorder):
    """The weakened twin: it clears what it sends before it is sure that it arrived."""

    def _close(self) -> bool:
        there = super()._close()
        self._batch, self.sent = [], self._batch
        return there


async def test_control_a_recorder_that_clears_first_loses(database: Database) -> None:
    process = Forgetful(database, uuid4(), Clock())
    count(process, 3)
    with turned_away(process):
        await process.flush()

    await process.flush()

    assert 0 == await requests(database)


class _Cut:
    """Ends the connection behind the next commit, so that nobody hears whether it was one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1
        commit = AsyncConnection.commit

        async def committed(connection: AsyncConnection) -> None:
            await commit(connection)
            if self.left:
                self.left -= 1
                raise OSError("the line is cut")

        monkeypatch.setattr(AsyncConnection, "commit", committed)


async def test_an_answer_that_is_lost_counts_nothing_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    process = recorder(database)
    count(process, 3)
    _Cut(monkeypatch)

    assert not await process.flush()
    assert 3 == await requests(database)
    count(process, 4)
    assert await process.flush()
    assert 7 == await requests(database)


class Unnumbered(Recorder):
    """The weakened twin: what it sends again looks new."""

    def _close(self) -> bool:
        self._number += 1
        return super()._close()


async def test_control_without_numbers_a_lost_answer_counts_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Unnumbered(database, uuid4(), Clock())
    count(process, 3)
    _Cut(monkeypatch)

    assert not await process.flush()
    assert await process.flush()

    assert 6 == await requests(database)


async def test_a_flush_that_is_cancelled_is_made_up_for_by_the_next(database: Database) -> None:
    process = recorder(database)
    count(process, 3)
    writing = asyncio.create_task(process.flush())
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    assert await process.flush()
    assert 3 == await requests(database)


async def test_what_waits_is_bounded_and_still_all_there(database: Database) -> None:
    """Hours without a database: the last one by the minute, those before by the hour."""
    clock = Clock()
    process = recorder(database, clock)
    hours = 5
    with turned_away(process):
        for _ in range(hours * 60):
            count(process)
            assert not await process.flush()
            clock.now += 60

    sent_at_first = 1
    assert process.waiting <= sent_at_first + HOUR + hours + 1
    assert await process.flush()
    assert hours * 60 == await requests(database)


async def test_what_would_be_forgotten_at_once_is_not_kept(database: Database) -> None:
    clock = Clock()
    process = recorder(database, clock)
    with turned_away(process):
        for _ in range(HOUR + 2):
            count(process)
            await process.flush()
            clock.now += KEPT.total_seconds() / HOUR

    # The first was sent at once; of the others, those of the month are left.
    assert 1 + HOUR == process.waiting


async def test_processes_that_write_at_once_do_not_stop_each_other(database: Database) -> None:
    keys = [Key("GET", f"/{number}") for number in range(20)]
    processes = [recorder(database) for _ in range(4)]
    for number, process in enumerate(processes):
        for key in keys if number % 2 else reversed(keys):
            count(process, 5, key)

    assert [True] * 4 == await asyncio.gather(*(process.flush() for process in processes))
    assert 400 == await requests(database)


async def test_a_flush_is_one_statement(database: Database) -> None:
    process = recorder(database)
    for number in range(40):
        count(process, 2, Key("GET", f"/{number}"))
    said: list[str] = []

    def heard(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement)

    engine = database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", heard)
    await process.flush()
    sa.event.remove(engine, "before_cursor_execute", heard)

    assert 1 == sum(bool(re.search("INSERT|UPDATE|DELETE", statement)) for statement in said)


async def test_nothing_counted_writes_nothing(database: Database) -> None:
    assert await recorder(Database.connect(NOWHERE)).flush()
