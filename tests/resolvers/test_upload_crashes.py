"""Killed anywhere, an upload is complete and verified, or goes on; never half."""

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import sweeps
from db import uploads as rows
from db.database import Database
from db.models.identity import Role
from db.models.work import UploadStatus
from db.redis import Redis
from db.uploads import Upload
from db.users import User
from resolvers.context import Context
from tests.forks import Fork, Forking, forking
from tests.uploading import begun, context_of, services_over, sha256, video
from tests.waiting import until

ROUNDS = {"chunks": 5, "stretches": 3}
SIZE, CHUNK = 3_000_000, 250_000


async def require_order(context: Context, upload: Upload) -> Upload:
    """What must hold however a process ended: each chunk on record is on disk, whole and right."""
    async with context.services.database.system() as tx:
        row, chunks = await rows.by_id(tx, upload.id), await rows.chunks_of(tx, upload.id)
    assert row is not None
    files, content = context.services.files, video(SIZE)
    if row.status is UploadStatus.COMPLETED:
        assert row.path is not None
        assert content == files.resolve(row.path).read_bytes()
        assert sha256(content) == row.sha256
        return row
    assert row.received_bytes == sum(chunk.bytes for chunk in chunks)
    for chunk in chunks:
        piece = files.root / ".partial" / str(upload.id) / f"{chunk.index:06}-{chunk.sha256}"
        expected = hashlib.sha256(content[chunk.start : chunk.start + chunk.bytes]).hexdigest()
        assert expected == chunk.sha256 == sha256(piece.read_bytes())
    return row


async def killed_at(process: Fork, line: int, pause_s: float) -> bool:
    """Whether a process was killed shortly after its n-th line, and not done before."""
    async with asyncio.timeout(120):
        for _ in range(line):
            if await process.stdout.readline() in (b"done\n", b""):
                return await process.wait() != 0
        try:
            # The pause is only where in the work the blow falls, nothing waits for it to be long enough.
            async with asyncio.timeout(pause_s):
                await process.wait()
        except TimeoutError:
            process.kill()
        return await process.wait() != 0


async def alone(database: Database) -> bool:
    """Whether the database has ended what a killed process had begun there: a commit on its way still counts."""
    async with database.system() as tx:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name"
        return not await tx.scalar(sa.text(others), {"name": "agentos"})


fork = forking("tests.resolvers.sending")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["chunks", "stretches"])
async def test_killed_again_and_again_it_still_arrives(
    fork: Forking,
    database: Database,
    database_url: str,
    redis: Redis,
    redis_url: str,
    people: dict[Role, User],
    tmp_path: Path,
    way: str,
) -> None:
    context = context_of(services_over(database, redis, tmp_path), people[Role.USER])
    upload = await begun(context, video(SIZE), CHUNK, digest=sha256(video(SIZE)))
    chance, now = random.Random(7), 4e9
    arguments = (database_url, redis_url, str(tmp_path), str(upload.user_id), str(upload.id), str(SIZE), way)

    kills, progress = 0, [0]
    for round_ in range(ROUNDS[way] + 1):
        # The last one is left alone; before, every other blow falls on the finish.
        line = 1_000 if round_ == ROUNDS[way] else chance.choice((chance.randint(1, 12), 13))
        async with fork(*arguments, str(round_)) as process:
            kills += await killed_at(process, line, chance.uniform(0.0, 0.03))
        await until(lambda: alone(database))
        row = await require_order(context, upload)
        progress.append(row.received_bytes)
        await sweeps.reconcile(database, context.services.files, now=now)
        assert row == await require_order(context, upload), "the janitor took something that was in use"

    assert UploadStatus.COMPLETED is row.status
    assert sorted(progress) == progress
    assert kills >= 1, "nobody was ever killed"
    files = [path for path in context.services.files.root.rglob("*") if path.is_file()]
    assert [context.services.files.resolve(row.path or "")] == files
