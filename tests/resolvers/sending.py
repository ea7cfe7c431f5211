"""A process that sends one upload and says what it is about to do, so that a test can kill it anywhere."""

import asyncio
import random
import sys
from pathlib import Path
from uuid import UUID

from db import users
from db.database import Database
from db.models.work import UploadStatus
from db.redis import connect
from tests.uploading import context_of, finalized, sent, services_over, standing, video


async def send(database_url: str, redis_url: str, folder: str, user: str, upload_id: str, size: str, seed: str) -> None:
    """Send what is missing in an order that the seed decides, then finalize, over and over until it is complete."""
    database, redis = Database.connect(database_url, size=2), connect(redis_url)
    async with database.system() as tx:
        found = await users.by_id(tx, UUID(user))
    context = context_of(services_over(database, redis, Path(folder)), found)
    content = video(int(size))
    stands = await standing(context, UUID(upload_id))
    assert stands is not None
    upload = stands.upload
    missing = list(range(upload.chunk_count))
    random.Random(seed).shuffle(missing)
    for index in missing:
        print("sending", flush=True)
        await sent(context, upload, content, index)
    print("finalizing", flush=True)
    upload = await finalized(context, upload.id)
    assert upload.status is UploadStatus.COMPLETED
    print("done", flush=True)
    await redis.aclose()
    await database.close()


if __name__ == "__main__":
    asyncio.run(send(*sys.argv[1:]))
