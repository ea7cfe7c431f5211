"""How endpoints were used: added once, folded without a trace, forgotten when it is old."""

import itertools
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloaders.snapshot import TimeRange
from db import retention, traffic
from db.database import Database
from db.models.managers import ManagerId
from db.traffic import DAY, EVERYTHING, Entry, Key, Traffic
from resolvers.queries import endpoints
from workers import managers
from workers.managers import NoOptions

JOBS = Key("GET", "/jobs/{job_id}")
ROOT = Key("GET", "/")
HOUR = datetime(2026, 3, 4, 5, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def entry(key: Key = JOBS, began: datetime = HOUR, **values: Any) -> Entry:
    """Two answers of a millisecond, unless told otherwise."""
    usual: dict[str, Any] = {"succeeded": 2, "took_us": 2_000, "buckets": [73], "counts": [2]}
    rest = dict.fromkeys(("redirected", "refused", "failed", "legacy", "hits", "misses"), 0)
    moments = {"first_at": began, "last_at": began + timedelta(seconds=59)}
    return Entry(method=key.method, path=key.path, began=began, **{"minutes": 1, **rest, **usual, **moments, **values})


async def add(database: Database, entries: Iterable[Entry], *, source: UUID | None = None, batch: int = 1) -> bool:
    async with database.system() as tx:
        return await traffic.add(tx, source or uuid4(), batch, list(entries))


async def read(database: Database, since: datetime = LONG_AGO) -> dict[Key, Traffic]:
    async with database.system() as tx:
        return await traffic.by_endpoint(tx, since)


async def rows(database: Database, key: Key = JOBS) -> list[tuple[datetime, int]]:
    """When the rows of an endpoint began, and of how many minutes they are."""
    of = {"method": key.method, "path": key.path}
    async with database.system() as tx:
        found = sa.text("SELECT began, minutes FROM traffic WHERE method = :method AND path = :path ORDER BY 1, 2")
        return list(await tx.rows(found, of))


async def test_what_two_processes_counted_in_one_minute_is_one_row(database: Database) -> None:
    await add(database, [entry(hits=1, misses=2, legacy=1)])
    await add(database, [entry(failed=1, took_us=500, buckets=[3, 73, 90], counts=[4, 5, 6])])

    assert [(HOUR, 1)] == await rows(database)
    expected = Traffic(succeeded=4, failed=1, hits=1, misses=2, legacy=1, took_us=2_500, spread={3: 4, 73: 7, 90: 6})
    assert {JOBS: expected} == await read(database)


async def test_a_batch_that_is_sent_again_counts_once(database: Database) -> None:
    source = uuid4()

    assert await add(database, [entry()], source=source, batch=1)
    assert not await add(database, [entry()], source=source, batch=1)
    assert await add(database, [entry()], source=source, batch=2)
    assert 4 == (await read(database))[JOBS].requests


async def test_control_the_same_without_a_number_counts_twice(database: Database) -> None:
    await add(database, [entry()])
    await add(database, [entry()])

    assert 4 == (await read(database))[JOBS].requests


async def test_an_endpoint_is_marked_by_its_first_and_last_use(database: Database) -> None:
    later = HOUR + timedelta(days=1)
    await add(database, [entry(began=later), entry(ROOT)])
    await add(database, [entry()])

    async with database.system() as tx:
        marks = await traffic.marks(tx)

    assert (HOUR, later + timedelta(seconds=59)) == (marks[JOBS].first_at, marks[JOBS].last_at)
    assert (HOUR, HOUR + timedelta(seconds=59)) == (marks[ROOT].first_at, marks[ROOT].last_at)


async def test_only_what_began_since_then_is_read(database: Database) -> None:
    await add(database, [entry(began=HOUR), entry(began=HOUR + timedelta(minutes=1))])

    assert 2 == (await read(database, HOUR + timedelta(minutes=1)))[JOBS].requests
    assert {} == await read(database, HOUR + timedelta(minutes=2))


async def test_all_endpoints_together_are_read_by_the_clock_hour(database: Database) -> None:
    times = [HOUR, HOUR + timedelta(minutes=59), HOUR + timedelta(hours=2)]
    await add(database, [entry(began=times[0]), entry(ROOT, began=times[1]), entry(began=times[2])])

    async with database.system() as tx:
        hours = await traffic.by_hour(tx, LONG_AGO)

    assert {HOUR: 4, HOUR + timedelta(hours=2): 2} == {hour: counted.requests for hour, counted in hours.items()}
    assert {73: 4} == hours[HOUR].spread


ENTRIES = st.lists(
    st.builds(
        lambda key, minute, spread, refused: entry(
            key,
            HOUR + timedelta(minutes=minute),
            refused=refused,
            buckets=sorted(spread),
            counts=[spread[bucket] for bucket in sorted(spread)],
        ),
        st.sampled_from([JOBS, ROOT]),
        st.integers(0, 130),
        st.dictionaries(st.integers(0, 231), st.integers(1, 2**40), max_size=4),
        st.integers(0, 2**40),
    ),
    max_size=12,
    unique_by=lambda each: (each.method, each.path, each.began),
)


@settings(max_examples=25)
@given(batches=st.lists(ENTRIES, max_size=3))
async def test_folding_changes_no_figure(database: Database, batches: list[list[Entry]]) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM traffic"))
    for batch in batches[:-1]:
        await add(database, batch)
    async with database.system() as tx:
        await traffic.fold(tx)
    for batch in batches[-1:]:
        await add(database, batch)
    before, whole = await read(database), await together(database)

    async with database.system() as tx:
        await traffic.fold(tx)

    assert before == await read(database)
    assert all(
        minutes == DAY and not began.hour for began, minutes in [*await rows(database), *await rows(database, ROOT)]
    )
    assert all(minutes == 60 and not began.minute for began, minutes in await rows(database, EVERYTHING))
    assert whole == await together(database)
    assert plainly(itertools.chain(*batches)) == {key: counted.requests for key, counted in before.items()}


def plainly(entries: Iterable[Entry]) -> dict[Key, int]:
    """How many requests were counted of each endpoint, in plain Python."""
    told: Counter[Key] = Counter()
    for each in entries:
        told[Key(each.method, each.path)] += each.succeeded + each.redirected + each.refused + each.failed
    return dict(told)


async def together(database: Database) -> dict[datetime, Traffic]:
    async with database.system() as tx:
        return await traffic.by_hour(tx, LONG_AGO)


async def test_what_is_asked_for_by_itself_is_not_folded(database: Database) -> None:
    """The last hour stays minute by minute, and two days hour by hour; all endpoints together stay so for a month."""
    async with database.system() as tx:
        now: datetime = await tx.scalar(sa.text("SELECT date_trunc('minute', now())"))
    day = now.replace(hour=0, minute=0)
    # A minute and more from where the last hour is cut off, whatever the second it is now.
    young, old = now - timedelta(minutes=60), now - timedelta(minutes=63)
    ago = [young, old, day - timedelta(days=1), day - timedelta(days=1, hours=1), day - timedelta(days=1, hours=2)]
    await add(database, [entry(began=began) for began in ago])

    async with database.system() as tx:
        assert [8 + 2] == [await traffic.fold(tx)]
    async with database.system() as tx:
        assert 0 == await traffic.fold(tx)

    hour = old.replace(minute=0)
    assert [(day - timedelta(days=2), DAY), (day - timedelta(days=1), 60), (hour, 60), (young, 1)] == await rows(
        database
    )
    assert [60, 60, 60, 60, 1] == [minutes for _, minutes in await rows(database, EVERYTHING)]


def test_what_is_folded_is_still_found_where_each_stretch_of_time_begins() -> None:
    """At any moment: a row that is folded lies before the hour, the day or the days that are read by themselves."""
    for minute in range(0, 3 * DAY, 7):
        now = datetime(2026, 3, 4, tzinfo=UTC) + timedelta(minutes=minute, seconds=30)
        oldest_minute = now - timedelta(minutes=62)
        oldest_hour = now.replace(hour=0, minute=0, second=0) - timedelta(days=1)

        assert oldest_minute < since(now, TimeRange.HOUR)
        assert oldest_hour <= since(now, TimeRange.DAY)
        assert since(now, TimeRange.WEEK) == since(now, TimeRange.WEEK).replace(hour=0, minute=0, second=0)


def since(now: datetime, time_range: TimeRange) -> datetime:
    return endpoints.beginning(now, time_range)


async def test_of_two_that_fold_at_once_one_does(database: Database) -> None:
    await add(database, [entry()])
    async with database.system() as one, database.system() as other:
        assert [3, 0] == [await traffic.fold(one), await traffic.fold(other)]


async def test_what_is_older_than_a_month_goes_and_what_is_not_stays(database: Database) -> None:
    now = datetime.now(UTC)
    await add(database, [entry(began=now - timedelta(days=31)), entry(ROOT, began=now - timedelta(days=33))])
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE traffic_sources SET changed_at = now() - interval '33 days'"))

    assert 2 == await retention.drop_old_traffic(database)
    assert [JOBS] == list(await read(database))
    async with database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM traffic_sources"))


async def test_the_manager_of_rollups_folds_traffic_as_well(database: Database) -> None:
    await add(database, [entry()])
    nothing: Any = None
    analytics = next(
        each for each in managers.known(database, nothing, nothing, nothing) if each.id is ManagerId.ANALYTICS
    )

    await analytics.tick(NoOptions())

    assert [(HOUR.replace(hour=0), DAY)] == await rows(database)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM traffic", "INSERT INTO traffic_sources (id) VALUES (gen_random_uuid())"]
)
async def test_no_tenant_may_change_what_was_measured(database: Database, statement: str) -> None:
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with database.transaction("default") as tx:
            await tx.execute(sa.text(statement))


def test_figures_of_nothing_are_null() -> None:
    none = Traffic()

    assert {None} == {
        none.average_ms,
        none.quantile_ms(0.5),
        none.error_percent,
        none.hit_percent,
        none.legacy_percent,
        none.per_second(timedelta(hours=1)),
    }


def test_figures_are_shares_of_what_was_counted() -> None:
    counted = Traffic(
        succeeded=5, redirected=1, refused=3, failed=1, legacy=2, hits=3, misses=1, took_us=25_000, spread={73: 10}
    )

    assert (10, 40.0, 30.0, 10.0, 20.0, 75.0, 2.5) == (
        counted.requests,
        counted.error_percent,
        counted.refused_percent,
        counted.failed_percent,
        counted.legacy_percent,
        counted.hit_percent,
        counted.average_ms,
    )
    assert 0.0028 == counted.per_second(timedelta(hours=1))
