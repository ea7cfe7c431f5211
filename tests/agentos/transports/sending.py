"""A process that takes 100 MB over tus, or over the REST routes, and prints by how many bytes that made it grow."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
from starlette.applications import Starlette
from starlette.requests import Request

from agentos.transports import tus, tus_headers
from db import users
from db.database import Database
from db.redis import connect
from resolvers.context import Context
from resolvers.uploads import LARGEST_FILE
from schema.build import build
from tests.schema.rest import sending as rest
from tests.schema.rest.sending import BLOCK, memory
from tests.uploading import FTYP, context_of, services_over


async def made(size: int) -> AsyncIterator[bytes]:
    """A file that is made while it is sent."""
    yield FTYP
    for start in range(len(FTYP), size, BLOCK):
        yield bytes(min(BLOCK, size - start))


async def upload(client: httpx.AsyncClient, size: int) -> None:
    """Send a file of that size in one stretch, checked, and have it verified."""
    digest = hashlib.sha256()
    async for block in made(size):
        digest.update(block)
    begun = await client.post(tus.PLACE, headers={"upload-length": str(size)})
    headers = {
        "content-type": tus_headers.STRETCH,
        "upload-offset": "0",
        "upload-checksum": f"sha256 {base64.b64encode(digest.digest()).decode()}",
    }
    done = await client.patch(begun.headers["location"], content=made(size), headers=headers)
    assert done.status_code == 204, done.text


async def grow(database_url: str, redis_url: str, folder: str, user: str) -> None:
    """Send a small file, so that everything is loaded, then the largest one, and print the difference at its peak."""
    database, redis = Database.connect(database_url, size=2), connect(redis_url)
    async with database.system() as tx:
        found = await users.by_id(tx, UUID(user))
    services = services_over(database, redis, Path(folder))

    async def identify(request: Request) -> Context:
        return context_of(services, found)

    transport = httpx.ASGITransport(Starlette(routes=tus.routes(build(), identify)))
    said = {"tus-resumable": tus.VERSION}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", timeout=60, headers=said) as client:
        await upload(client, 100_000)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        await upload(client, LARGEST_FILE)
        print(memory("VmHWM") - before, flush=True)
    await redis.aclose()
    await database.close()


def main(way: str, *arguments: str) -> None:
    """Grow as a process."""
    asyncio.run({"rest": rest.grow, "tus": grow}[way](*arguments))
