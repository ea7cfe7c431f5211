"""Figures that several sections share."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.work import counted, growth_percent, percent, run_s, success_percent, trend
from db.models.work import JobStatus
from db.tallies import Hour
from tests.dataloaders.snapshot.conftest import Lived

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def hour(status: JobStatus, jobs: int, *, at: datetime = NOON, run: float = 0) -> Hour:
    return Hour(at, status, jobs, 0, run)


async def test_it_is_counted_once_for_all_sections_of_a_build(sources: Sources, frame: Frame, lived: Lived) -> None:
    first, *others = await asyncio.gather(*(counted(sources, frame) for _ in range(4)))

    assert [first, first, first] == others
    assert all(other is first for other in others)


def test_success_is_of_what_was_completed_or_failed() -> None:
    hours = [hour(JobStatus.COMPLETED, 3), hour(JobStatus.FAILED, 1), hour(JobStatus.CANCELLED, 9)]

    assert 75.0 == success_percent(hours, since=NOON)
    assert success_percent(hours, since=NOON + timedelta(hours=1)) is None
    assert success_percent(hours, since=NOON - timedelta(hours=2), until=NOON) is None


def test_cancelled_jobs_do_not_make_the_others_look_quick() -> None:
    hours = [hour(JobStatus.COMPLETED, 2, run=30), hour(JobStatus.FAILED, 1, run=30), hour(JobStatus.CANCELLED, 7)]

    assert 20.0 == run_s(hours, since=NOON)
    assert run_s([], since=NOON) is None


def test_shares_of_nothing_are_absent() -> None:
    assert (None, None) == (percent(0, 0), growth_percent(3, 0))
    assert (33.33, -50.0) == (percent(1, 3), growth_percent(1, 2))


@pytest.mark.parametrize(("now", "before", "word"), [(2, 1, "up"), (1, 2, "down"), (1, 1, "stable")])
def test_a_trend_is_the_sign_of_the_difference(now: int, before: int, word: str) -> None:
    assert word == trend(now, before)
