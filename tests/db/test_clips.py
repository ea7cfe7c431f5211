"""Clips: ranked within their job, listed, and seen by those whose job they are of."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import clips, jobs
from db.clips import Filter, NewClip
from db.database import Database
from db.jobs import NewJob
from db.models.identity import Role
from db.pages import Order, Window
from tests.conftest import People

BEST = Order("score")


def a_clip(score: float = 50.0, **changed: Any) -> NewClip:
    good = {
        "title": f"scored {score}",
        "path": "clips/a.mp4",
        "thumbnail_path": None,
        "start_s": 1.0,
        "end_s": 4.0,
        "duration_s": 3.0,
        "width": 90,
        "height": 160,
        "size_bytes": 2**40,
        "sha256": "0" * 64,
        "score": score,
        "reasons": [{"reason": "it moves", "points": score}],
    }
    return NewClip(**(good | changed))


async def a_job(database: Database, *made: NewClip, owner: UUID | None = None) -> UUID:
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=("clipper",)))
        await clips.add(tx, job.id, made)
    return job.id


async def test_clips_are_ranked_as_given_and_read_as_they_were_made(database: Database) -> None:
    job = await a_job(database, a_clip(90), a_clip(10), a_clip(50))

    async with database.transaction("default") as tx:
        found = await clips.of_jobs(tx, [job])

    assert [(1, 90), (2, 10), (3, 50)] == [(clip.ordinal, clip.score) for clip in found]
    assert ([{"reason": "it moves", "points": 90}], 2**40, "default", job) == (
        found[0].reasons,
        found[0].size_bytes,
        found[0].tenant_id,
        found[0].job_id,
    )


async def test_a_job_gets_its_clips_once(database: Database) -> None:
    """A second worker that also thinks it completed the job must not double them."""
    job = await a_job(database, a_clip())

    with pytest.raises(sa.exc.IntegrityError, match="clips_job_id_ordinal_key"):
        async with database.transaction("default") as tx:
            await clips.add(tx, job, [a_clip()])

    async with database.transaction("default") as tx:
        assert 1 == len(await clips.of_jobs(tx, [job]))


async def test_a_job_may_leave_no_clips(database: Database) -> None:
    job = await a_job(database)

    async with database.transaction("default") as tx:
        assert [] == await clips.of_jobs(tx, [job])
        assert [] == await clips.of_jobs(tx, [])


async def test_what_cannot_be_a_clip_is_refused(database: Database) -> None:
    for bad in (a_clip(-1), a_clip(100.5), a_clip(duration_s=0.0), a_clip(end_s=1.0)):
        with pytest.raises(sa.exc.IntegrityError, match="violates check constraint"):
            await a_job(database, bad)


async def test_clips_of_somebody_else_s_job_look_missing(database: Database, people: People) -> None:
    owner = people[Role.USER].id
    job = await a_job(database, a_clip(), owner=owner)
    async with database.transaction("default") as tx:
        [clip] = await clips.of_jobs(tx, [job], owner=owner)
        assert clip == await clips.by_id(tx, clip.id, owner=owner)
        assert [clip] == (await clips.listed(tx, Filter(), BEST, Window(), owner=owner)).items
        assert 1 == await clips.how_many(tx, Filter(), owner=owner)

    for who, tenant in ((people[Role.OPERATOR].id, "default"), (uuid4(), "default"), (None, "other")):
        async with database.transaction(tenant) as tx:
            assert await clips.by_id(tx, clip.id, owner=who) is None
            assert [] == await clips.of_jobs(tx, [job], owner=who)
            assert [] == (await clips.listed(tx, Filter(), BEST, Window(), owner=who)).items
            assert 0 == await clips.how_many(tx, Filter(), owner=who)


async def test_a_filter_narrows_the_list_and_its_count(database: Database) -> None:
    one = await a_job(database, a_clip(90), a_clip(10))
    await a_job(database, a_clip(50), a_clip(90))
    async with database.transaction("default") as tx:
        moments = sorted({clip.created_at for clip in await clips.of_jobs(tx, [one])})
        for wanted, expected in (
            (Filter(), [90, 90, 50, 10]),
            (Filter(job_id=one), [90, 10]),
            (Filter(min_score=50), [90, 90, 50]),
            (Filter(job_id=one, min_score=50), [90]),
            (Filter(created_after=moments[0]), [90, 90, 50, 10]),
            (Filter(created_before=moments[0]), []),
            (Filter(job_id=uuid4()), []),
        ):
            page = await clips.listed(tx, wanted, BEST, Window(size=100), owner=None)
            assert expected == [clip.score for clip in page.items], wanted
            assert len(expected) == await clips.how_many(tx, wanted, owner=None), wanted


async def test_clips_go_with_their_job(database: Database) -> None:
    job = await a_job(database, a_clip())

    async with database.transaction("default") as tx:
        await tx.execute(sa.text("DELETE FROM jobs"))
        assert [] == await clips.of_jobs(tx, [job])
