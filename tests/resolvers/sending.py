"""A process that sends one upload and says what it is about to do, so that a test can kill it anywhere."""

import asyncio
import random
from pathlib import Path
from uuid import UUID

from db import users
from db.database import Database
from db.models.work import UploadStatus
from db.redis import connect
from resolvers import appending
from resolvers.context import Context
from tests.uploading import context_of, finalized, sent, services_over, standing, streamed, video

STRETCH = 260_000


async def send(
    database_url: str, redis_url: str, folder: str, user: str, upload_id: str, size: str, way: str, seed: str
) -> None:
    """Send what is missing, then finalize, over and over until it is complete.

    Args:
        way: `chunks` in an order that the seed decides, or `stretches` that end where no chunk does.
    """
    database, redis = Database.connect(database_url, size=2), connect(redis_url)
    async with database.system() as tx:
        found = await users.by_id(tx, UUID(user))
    context = context_of(services_over(database, redis, Path(folder)), found)
    content = video(int(size))
    stands = await standing(context, UUID(upload_id))
    assert stands is not None
    upload = stands.upload
    if way == "chunks":
        missing = list(range(upload.chunk_count))
        random.Random(seed).shuffle(missing)
        for index in missing:
            print("sending", flush=True)
            await sent(context, upload, content, index)
    else:
        await _go_on(context, upload.id, content)
    print("finalizing", flush=True)
    upload = await finalized(context, upload.id)
    assert upload.status is UploadStatus.COMPLETED
    print("done", flush=True)
    await redis.aclose()
    await database.close()


async def _go_on(context: Context, upload_id: UUID, content: bytes) -> None:
    offset = (await appending.reached(context, upload_id)).offset
    while offset < len(content):
        print("sending", flush=True)
        stretch = streamed(content[offset : offset + STRETCH], step=10_000)
        offset = (await appending.append(context, upload_id, offset, stretch)).offset


def main(*arguments: str) -> None:
    """Send as a process."""
    asyncio.run(send(*arguments))
