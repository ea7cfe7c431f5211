"""A hundred megabytes over the REST routes, and by how many bytes they make a process grow."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
from starlette.applications import Starlette
from starlette.requests import Request

from db import users
from db.database import Database
from db.redis import connect
from resolvers.context import Context
from resolvers.uploads import LARGEST_CHUNK, LARGEST_FILE
from schema.build import build
from schema.rest import serving
from tests.uploading import FTYP, context_of, services_over

BLOCK = 65_536


def memory(name: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def form(upload_id: str, index: int, size: int) -> AsyncIterator[bytes]:
    """A chunk as a form that is made while it is sent."""

    async def blocks() -> AsyncIterator[bytes]:
        fields = {"upload_id": upload_id, "chunk_index": str(index)}
        for name, value in fields.items():
            yield f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        yield b'--X\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'
        head = FTYP if index == 0 else b""
        yield head
        for start in range(len(head), size, BLOCK):
            yield bytes(min(BLOCK, size - start))
        yield b"\r\n--X--\r\n"

    return blocks()


async def upload(client: httpx.AsyncClient, size: int) -> None:
    """Send a file of that size and finalize it."""
    begun = await client.post("/api/v1/upload/init", json={"filename": "a.mp4", "file_size": size})
    upload_id = begun.json()["data"]["id"]
    headers = {"content-type": "multipart/form-data; boundary=X"}
    for index, start in enumerate(range(0, size, LARGEST_CHUNK)):
        content = form(upload_id, index, min(LARGEST_CHUNK, size - start))
        response = await client.post("/api/v1/upload/chunk", content=content, headers=headers)
        assert response.status_code == 200, response.text
    done = await client.post("/api/v1/upload/finalize", json={"upload_id": upload_id})
    assert done.status_code == 201, done.text


async def grow(database_url: str, redis_url: str, folder: str, user: str) -> None:
    """Send a small file, so that everything is loaded, then the largest one, and print the difference at its peak."""
    # A disk that is busy with all of this holds up answers, and what cannot be counted would be refused.
    database, redis = Database.connect(database_url, size=2), connect(redis_url, answer_timeout_s=30)
    async with database.system() as tx:
        found = await users.by_id(tx, UUID(user))
    services = services_over(database, redis, Path(folder))

    async def identify(request: Request) -> Context:
        return context_of(services, found)

    app = Starlette(routes=serving.routes(build(), identify))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test", timeout=60) as client:
        await upload(client, 100_000)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        await upload(client, LARGEST_FILE)
        print(memory("VmHWM") - before, flush=True)
    await redis.aclose()
    await database.close()
