"""Files made for whoever asked are kept for a week, found under a link, and then go."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import sweeps
from db.database import Database
from db.models.identity import Role
from db.models.work import artifacts
from db.redis import Redis
from guards.errors import BadInput, TooLarge
from guards.links import PLACE
from resolvers import reports
from resolvers.context import Context
from resolvers.reports import Kept
from tests.conftest import People
from tests.uploading import context_of, services_over

CONTENT = b'{"jobs": 3}\n'


@pytest.fixture
def admin(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    return context_of(services_over(database, redis, tmp_path), people[Role.ADMIN])


def fetched(context: Context, kept: Kept) -> bytes:
    link = context.services.links.opened(kept.download_url.partition(PLACE)[2])
    assert (context.caller.tenant, kept.filename, False) == (link.tenant, link.name, link.inline)
    return context.services.files.resolve(link.path).read_bytes()


async def swept(context: Context, *, later: timedelta = timedelta(0)) -> sweeps.Swept:
    now = time.time() + later.total_seconds()
    return await sweeps.reconcile(context.services.database, context.services.files, now=now)


async def test_what_was_kept_is_fetched_as_it_was(admin: Context) -> None:
    kept = await reports.kept(admin, "jobs.json", "application/json", CONTENT)

    assert CONTENT == fetched(admin, kept)
    assert (len(CONTENT), hashlib.sha256(CONTENT).hexdigest()) == (kept.size_bytes, kept.sha256)
    assert timedelta(days=7) - timedelta(minutes=1) < kept.expires_at - datetime.now(UTC) <= timedelta(days=7)


async def test_a_file_and_a_stream_are_kept_like_bytes(admin: Context, tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        yield CONTENT[5:]

    (tmp_path / "report").write_bytes(CONTENT)

    lying = await reports.kept(admin, "a.json", "application/json", tmp_path / "report")
    streamed = await reports.kept(admin, "b.json", "application/json", parts())

    assert [CONTENT, CONTENT] == [fetched(admin, lying), fetched(admin, streamed)]
    assert (tmp_path / "report").exists()


async def test_no_link_in_the_file_system_is_followed(admin: Context, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "report").symlink_to(tmp_path / "secret")

    with pytest.raises(OSError, match="symbolic links"):
        await reports.kept(admin, "a.json", "application/json", tmp_path / "report")


@pytest.mark.parametrize("name", ["", "../a.json", "a/b.json", ".hidden", "a\0.json", "ä.json", "x" * 121])
async def test_a_name_is_plain(admin: Context, name: str) -> None:
    with pytest.raises(BadInput, match=r"^name: "):
        await reports.kept(admin, name, "application/json", CONTENT)


async def test_what_is_too_large_leaves_nothing(admin: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LARGEST", len(CONTENT) - 1)

    with pytest.raises(TooLarge):
        await reports.kept(admin, "jobs.json", "application/json", CONTENT)

    assert [] == [place for place in admin.services.files.root.rglob("*") if place.is_file()]


async def test_the_sweeps_keep_it_for_its_week_and_no_longer(admin: Context) -> None:
    kept = await reports.kept(admin, "jobs.json", "application/json", CONTENT)
    unrecorded = await reports.put(admin, "other.json", "application/json", b"without a row")

    report = await swept(admin, later=timedelta(hours=2))

    assert (0, 1) == (report.outdated, report.orphans)
    assert CONTENT == fetched(admin, kept)
    assert not (admin.services.files.root / unrecorded.path).exists()

    async with admin.services.database.system() as tx:
        await tx.execute(sa.update(artifacts).values(expires_at=sa.text("now() - interval '1 second'")))

    report = await swept(admin, later=timedelta(hours=2))

    assert (1, 1) == (report.outdated, report.orphans)
    with pytest.raises(FileNotFoundError):
        fetched(admin, kept)


async def test_the_same_bytes_kept_twice_stay_for_the_one_who_came_last(admin: Context) -> None:
    first = await reports.kept(admin, "jobs.json", "application/json", CONTENT)
    async with admin.services.database.system() as tx:
        await tx.execute(sa.update(artifacts).values(expires_at=sa.text("now() - interval '1 second'")))
    second = await reports.kept(admin, "again.json", "application/json", CONTENT)
    place = admin.services.files.resolve(admin.services.links.opened(second.download_url.partition(PLACE)[2]).path)
    os.utime(place, (0, 0))

    report = await swept(admin)

    assert (1, 0) == (report.outdated, report.orphans)
    assert [CONTENT, CONTENT] == [fetched(admin, first), fetched(admin, second)]
