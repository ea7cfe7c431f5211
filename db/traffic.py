"""Traffic: how the endpoints of the table were used, added up over all processes and kept over restarts.

Not per tenant: endpoints belong to the house. What processes counted is added to a row for each endpoint and minute;
minutes older than an hour are folded into hours, hours of the day before yesterday into days. So nothing costs more
because more was asked; and all endpoints together have rows of their own, for they are read every few seconds. A batch
counts once, however often it is sent: a process that never heard that it was written sends the same again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa

from db.database import Transaction
from db.histograms import quantile_us
from db.rows import Row

MINUTE: Final = 1
HOUR: Final = 60
DAY: Final = 24 * 60
"""How many minutes a row is of."""

KEPT: Final = timedelta(days=32)
"""How long figures are kept; the longest stretch of time that is asked for, and a little."""


class Key(NamedTuple):
    """An endpoint, by what is asked for."""

    method: str
    path: str
    """Below its prefix, with parameters in braces."""


EVERYTHING: Final = Key("*", "*")
"""Stands for all endpoints together; its hours are not folded, for the busiest of them is asked for."""


class Entry(Row, frozen=True, kw_only=True):
    """What one process counted of one endpoint in one minute, or hour."""

    method: str
    path: str
    began: datetime
    minutes: int
    succeeded: int
    """Answers 2xx."""

    redirected: int
    """3xx, such as `304`."""

    refused: int
    """4xx."""

    failed: int
    """5xx."""

    legacy: int
    """Requests below the prefix for clients from before."""

    hits: int
    misses: int
    took_us: int
    """Microseconds, of all answers together."""

    buckets: Sequence[int]
    """Classes of durations that have some, ascending (`db.histograms`)."""

    counts: Sequence[int]
    """How many, in each of them."""

    first_at: datetime
    last_at: datetime


class Traffic(Row, frozen=True, kw_only=True):
    """What was counted in a stretch of time, by all processes."""

    succeeded: int = 0
    redirected: int = 0
    refused: int = 0
    failed: int = 0
    legacy: int = 0
    hits: int = 0
    misses: int = 0
    took_us: int = 0
    spread: Mapping[int, int] = {}
    """How many answers fell into each class of durations."""

    @property
    def requests(self) -> int:
        """All of them."""
        return self.succeeded + self.redirected + self.refused + self.failed

    @property
    def average_ms(self) -> float | None:
        """How long an answer took on average; None without any."""
        return _rounded(self.took_us / self.requests if self.requests else None)

    def quantile_ms(self, share: float) -> float | None:
        """What `share` of the answers took at most, at most 4.8 % off; None without any."""
        return _rounded(quantile_us(self.spread, share))

    @property
    def refused_percent(self) -> float | None:
        """Answers 4xx among all; None without any."""
        return _percent(self.refused, self.requests)

    @property
    def failed_percent(self) -> float | None:
        """Answers 5xx among all; None without any."""
        return _percent(self.failed, self.requests)

    @property
    def error_percent(self) -> float | None:
        """Answers 4xx and 5xx among all; None without any."""
        return _percent(self.refused + self.failed, self.requests)

    @property
    def legacy_percent(self) -> float | None:
        """Requests below the prefix for clients from before, among all; None without any."""
        return _percent(self.legacy, self.requests)

    @property
    def hit_percent(self) -> float | None:
        """Answers from a cache among those that a cache was asked for; None where none was."""
        return _percent(self.hits, self.hits + self.misses)

    def per_second(self, lasting: timedelta) -> float | None:
        """Requests in relation to the time that they came in; None without any."""
        return round(self.requests / lasting.total_seconds(), 4) if self.requests else None


class Marks(Row, frozen=True, kw_only=True):
    """When an endpoint was used."""

    first_at: datetime
    last_at: datetime


_SUMS: Final = ("succeeded", "redirected", "refused", "failed", "legacy", "hits", "misses", "took_us")
_ADDED: Final = ", ".join(f"sum({name})::bigint AS {name}" for name in _SUMS)

# Both sides of a conflict are added class by class.
_MERGED: Final = f"""
ON CONFLICT (began, minutes, method, path) DO UPDATE SET
    {", ".join(f"{name} = traffic.{name} + excluded.{name}" for name in _SUMS)},
    (buckets, counts) = (
        SELECT coalesce(array_agg(bucket ORDER BY bucket), '{{}}'), coalesce(array_agg(n ORDER BY bucket), '{{}}')
        FROM (SELECT bucket, sum(n)::bigint AS n FROM (
            SELECT * FROM unnest(traffic.buckets, traffic.counts)
            UNION ALL SELECT * FROM unnest(excluded.buckets, excluded.counts)
        ) AS each (bucket, n) GROUP BY bucket) AS summed
    )
"""

# Rows are written in one order everywhere, so that two processes never wait for each other crosswise.
_ADD: Final = sa.text(f"""
WITH turn AS (
    INSERT INTO traffic_sources (id, batch) VALUES (:source, :batch)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, changed_at = now()
    WHERE traffic_sources.batch < excluded.batch RETURNING id
), given AS (
    SELECT * FROM jsonb_to_recordset(CAST(:entries AS jsonb)) AS entry (
        method text, path text, began timestamptz, minutes smallint,
        {", ".join(f"{name} bigint" for name in _SUMS)},
        buckets smallint[], counts bigint[], first_at timestamptz, last_at timestamptz
    ) WHERE EXISTS (SELECT FROM turn)
), marked AS (
    INSERT INTO traffic_marks (method, path, first_at, last_at)
    SELECT method, path, min(first_at), max(last_at) FROM given WHERE method <> '*' GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (method, path) DO UPDATE SET
        first_at = least(traffic_marks.first_at, excluded.first_at),
        last_at = greatest(traffic_marks.last_at, excluded.last_at)
), added AS (
    INSERT INTO traffic (began, minutes, method, path, {", ".join(_SUMS)}, buckets, counts)
    SELECT began, minutes, method, path, {", ".join(_SUMS)}, buckets, counts FROM given
    ORDER BY began, minutes, method, path
    {_MERGED}
)
SELECT EXISTS (SELECT FROM turn)
""")


def _folded(minutes: int, into: int, unit: str, older: str) -> sa.TextClause:
    """Rows of so many minutes added up to rows of more, as soon as they are old enough."""
    return sa.text(f"""
    WITH gone AS (
        DELETE FROM traffic WHERE minutes = {minutes} AND {older} RETURNING date_trunc('{unit}', began) AS whole, *
    ), sums AS (
        SELECT whole, method, path, {_ADDED} FROM gone GROUP BY 1, 2, 3
    ), spread AS (
        SELECT whole, method, path, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(n ORDER BY bucket) AS counts
        FROM (
            SELECT whole, method, path, bucket, sum(n)::bigint AS n
            FROM (SELECT whole, method, path, unnest(buckets) AS bucket, unnest(counts) AS n FROM gone) AS each
            GROUP BY 1, 2, 3, 4
        ) AS each GROUP BY 1, 2, 3
    ), kept AS (
        INSERT INTO traffic (began, minutes, method, path, {", ".join(_SUMS)}, buckets, counts)
        SELECT whole, {into}, method, path, {", ".join(_SUMS)}, coalesce(buckets, '{{}}'), coalesce(counts, '{{}}')
        FROM sums LEFT JOIN spread USING (whole, method, path) ORDER BY whole, method, path
        {_MERGED}
    )
    SELECT count(*) FROM gone
    """)


# Two minutes more than an hour is read by the minute: whoever reads it began a moment ago.
_FOLDS: Final = (
    _folded(MINUTE, HOUR, "hour", "began < now() - interval '62 minutes'"),
    _folded(HOUR, DAY, "day", "method <> '*' AND began < date_trunc('day', now()) - interval '1 day'"),
)


def _read(by: str, whose: str) -> sa.TextClause:
    """What was counted since, for each of what is grouped by."""
    return sa.text(f"""
    WITH chosen AS (SELECT {by} AS whose, * FROM traffic WHERE began >= :since AND {whose}),
    sums AS (SELECT whose, {_ADDED} FROM chosen GROUP BY 1),
    spread AS (
        SELECT whose, array_agg(bucket) AS buckets, array_agg(n) AS counts FROM (
            SELECT whose, bucket, sum(n)::bigint AS n
            FROM (SELECT whose, unnest(buckets) AS bucket, unnest(counts) AS n FROM chosen) AS each GROUP BY 1, 2
        ) AS each GROUP BY 1
    )
    SELECT whose, {", ".join(_SUMS)}, buckets, counts FROM sums LEFT JOIN spread USING (whose) ORDER BY whose
    """)


_BY_ENDPOINT: Final = _read("array[method, path]", "method <> '*'")
_BY_HOUR: Final = _read("date_trunc('hour', began)", "method = '*'")
_MARKS: Final = sa.text("SELECT method, path, first_at, last_at FROM traffic_marks")
_FORGET: Final = (
    "DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} WHERE {moment} < now() - CAST(:kept AS interval) "
    "LIMIT :most)"
)
_FORGET_TRAFFIC: Final = sa.text(_FORGET.format(table="traffic", moment="began"))
_FORGET_SOURCES: Final = sa.text(_FORGET.format(table="traffic_sources", moment="changed_at"))


async def add(tx: Transaction, source: UUID, batch: int, entries: Sequence[Entry]) -> bool:
    """Add what a process counted; for a system transaction.

    Args:
        source: the process.
        batch: its number, higher than that of every batch before of this process.

    Returns:
        Whether it was added now; False when it had been already.
    """
    everything = [*entries, *_together(entries)]
    given = {"source": source, "batch": batch, "entries": msgspec.json.encode(everything).decode()}
    return bool(await tx.scalar(_ADD, given))


async def by_endpoint(tx: Transaction, since: datetime) -> dict[Key, Traffic]:
    """How each endpoint was used in the minutes, hours and days that began at `since` or later.

    Args:
        since: within the last hour, a minute; within the last day, a clock hour; before that, a day in UTC.
    """
    return {Key(*whose): counted for whose, counted in await _counted(tx, _BY_ENDPOINT, since)}


async def by_hour(tx: Transaction, since: datetime) -> dict[datetime, Traffic]:
    """How all endpoints together were used, in each clock hour since then; hours without requests are absent."""
    return dict(await _counted(tx, _BY_HOUR, since))


async def marks(tx: Transaction) -> dict[Key, Marks]:
    """When each endpoint was used first and last; those that never were are absent."""
    return {
        Key(method, path): Marks(first_at=first_at, last_at=last_at)
        for method, path, first_at, last_at in await tx.rows(_MARKS)
    }


async def fold(tx: Transaction) -> int:
    """Fold minutes into hours and hours into days, once they are not asked for by themselves; for a system transaction.

    Returns:
        How many rows were folded; 0 also when somebody else is folding just now.
    """
    if not await tx.try_hold("traffic/fold"):
        return 0
    return sum([await tx.scalar(statement) for statement in _FOLDS])


async def forget(tx: Transaction, *, most: int) -> int:
    """Remove what is too old to be asked for, at most `most` rows; for a system transaction."""
    removed = await tx.execute(_FORGET_TRAFFIC, {"kept": KEPT, "most": most})
    await tx.execute(_FORGET_SOURCES, {"kept": KEPT, "most": most})
    return removed.rowcount


def together(parts: Sequence[Traffic]) -> Traffic:
    """Several as one."""
    sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMS}
    return Traffic(**sums, spread=_added(part.spread for part in parts))


def _together(entries: Sequence[Entry]) -> Iterable[Entry]:
    """What all endpoints together had in each minute or hour."""
    grouped: dict[tuple[datetime, int], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.began, entry.minutes), []).append(entry)
    for own in grouped.values():
        spread = _added(dict(zip(entry.buckets, entry.counts, strict=True)) for entry in own)
        sums = {name: sum(getattr(entry, name) for entry in own) for name in _SUMS}
        buckets = sorted(spread)
        yield msgspec.structs.replace(
            own[0],
            **EVERYTHING._asdict(),
            **sums,
            buckets=buckets,
            counts=[spread[bucket] for bucket in buckets],
        )


def _added(spreads: Iterable[Mapping[int, int]]) -> dict[int, int]:
    added: dict[int, int] = {}
    for spread in spreads:
        for bucket, count in spread.items():
            added[bucket] = added.get(bucket, 0) + count
    return added


async def _counted(tx: Transaction, statement: sa.TextClause, since: datetime) -> list[tuple[Any, Traffic]]:
    found = []
    for whose, *sums, buckets, counts in await tx.rows(statement, {"since": since}):
        spread = dict(zip(buckets or (), counts or (), strict=True))
        found.append((whose, Traffic(**dict(zip(_SUMS, sums, strict=True)), spread=spread)))
    return found


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _rounded(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 3)
