"""How quickly the questions are answered that the house asks all the time, and whether an index answers them.

They are asked as the application asks them: for one tenant, through row-level security.
"""

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.rows import Row
from db.sizes import Index

TIMES: Final = 3
"""How often each is asked; the middle one counts."""

QUICK_MS: Final = 50.0
"""Up to here a question costs the score nothing."""

MANY: Final = 10_000
"""Rows that are not read without an index without costing the score."""

QUESTIONS: Final[Mapping[str, str]] = {
    "job_by_id": "SELECT * FROM jobs WHERE id = :id",
    "newest_jobs": "SELECT * FROM jobs ORDER BY created_at DESC, id DESC LIMIT 50",
    "due_jobs": (
        "SELECT id FROM jobs WHERE status = 'queued' AND run_at <= now() ORDER BY priority DESC, run_at, id LIMIT 10"
    ),
    "failed_jobs_of_a_day": (
        "SELECT id FROM jobs WHERE status = 'failed' AND completed_at > now() - interval '1 day' LIMIT 50"
    ),
    "jobs_by_status": "SELECT status, sum(jobs) FROM job_gauges GROUP BY status",
    "steps_of_a_job": "SELECT * FROM processing_steps WHERE job_id = :id ORDER BY ordinal",
    "newest_clips": "SELECT * FROM clips ORDER BY created_at DESC, id DESC LIMIT 50",
    "newest_log_lines": "SELECT * FROM logs ORDER BY created_at DESC, id DESC LIMIT 100",
    "newest_system_events": "SELECT * FROM system_events ORDER BY created_at DESC, id DESC LIMIT 50",
    "events_after_a_cursor": "SELECT * FROM events WHERE (xid, id) > ('0'::xid8, 0) ORDER BY xid, id LIMIT 100",
}


class Timing(Row, frozen=True, kw_only=True):
    """How one question was answered."""

    query_name: str
    duration_ms: float
    uses_index: bool
    """As PostgreSQL has planned it; a table of a few pages is read quicker without."""

    rows_scanned: int
    """About how many rows were expected to be read without an index."""


async def all_asked(tx: Transaction) -> list[Timing]:
    """Ask every question, in the transaction of a tenant."""
    return [await _asked(tx, name, question) for name, question in QUESTIONS.items()]


def average_ms(timings: Sequence[Timing]) -> float:
    """How long a question took on average."""
    return statistics.fmean(timing.duration_ms for timing in timings)


def score(timings: Sequence[Timing], indexes: Sequence[Index]) -> int:
    """How well the database does, in 0..100.

    100, less 5 for each 50 ms that a question takes beyond the first 50 (at most 20 for one question), less 10 for each
    that reads 10,000 rows or more without an index, less 10 for each index that is not valid.
    """
    slow = sum(min(20.0, 5.0 * max(0.0, timing.duration_ms / QUICK_MS - 1)) for timing in timings)
    unaided = sum(10 for timing in timings if timing.rows_scanned >= MANY)
    broken = sum(10 for index in indexes if not index.valid)
    return max(0, round(100 - slow - unaided - broken))


async def _asked(tx: Transaction, name: str, question: str) -> Timing:
    values = {"id": UUID(int=0)} if ":id" in question else {}
    statement = sa.text(question)
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await tx.rows(statement, values)
        took.append((time.perf_counter() - began) * 1000)
    told = await tx.scalar(sa.text(f"EXPLAIN (FORMAT JSON) {question}"), values)
    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    nodes = list(_nodes(plan))
    return Timing(
        query_name=name,
        duration_ms=round(statistics.median(took), 3),
        uses_index=any("Index" in node["Node Type"] for node in nodes),
        rows_scanned=sum(int(node["Plan Rows"]) for node in nodes if node["Node Type"] == "Seq Scan"),
    )


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
