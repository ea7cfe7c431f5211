"""tuspy, a client of tus that is not ours, over a server that is killed while it sends."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader.uploader import Uploader

from agentos import services as opening
from agentos.settings import Settings
from db import uploads
from db.files import MB
from db.models.identity import Role
from db.models.work import UploadStatus
from db.uploads import Upload
from resolvers.context import Services
from tests.agentos.commands import environment, started
from tests.conftest import People
from tests.serving import free_port, plain_client
from tests.uploading import sha256, video
from tests.waiting import eventually, until

SIZE = 24 * MB + 321
STRETCH = MB // 2
READY_S = 60


@asynccontextmanager
async def serving(env: dict[str, str], port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server that is ready; killed when the block ends, if it was not before."""
    process = await started("serve", "--port", str(port), env=env)
    async with plain_client(base_url=f"http://127.0.0.1:{port}") as client:

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(ready, within_s=READY_S)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def row(services: Services, url: str) -> Upload:
    async with services.database.system() as tx:
        found = await uploads.by_id(tx, UUID(url.rpartition("/")[2]))
    assert found is not None
    return found


@pytest.mark.slow
async def test_it_resumes_where_a_killed_server_stopped(
    database_url: str, redis_url: str, tmp_path: Path, people: People
) -> None:
    content, user, port = video(SIZE), people[Role.USER], free_port()
    env = environment(tmp_path, database_url=database_url, redis_url=redis_url, log_level="error")
    given = {"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path}
    async with opening.opened(Settings.model_validate(given)) as services:
        token = services.tokens.issued(
            user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version
        )
        client = TusClient(f"http://127.0.0.1:{port}/files/uploads", headers={"Authorization": f"Bearer {token}"})
        async with serving(env, port) as process:
            metadata = {"filename": "holiday.mp4", "filetype": "video/mp4"}
            uploader = Uploader(file_stream=io.BytesIO(content), client=client, chunk_size=STRETCH, metadata=metadata)
            url: str = await asyncio.to_thread(uploader.create_url)
            uploader.set_url(url)
            sending = asyncio.create_task(asyncio.to_thread(uploader.upload))
            await eventually(lambda: row(services, url), lambda upload: upload.received_bytes >= 2 * MB)
            process.kill()
            with pytest.raises((TusUploadFailed, TusCommunicationError)):
                await sending

        async with serving(env, port):
            # Only now: the database may still be at what the killed one told it last.
            half = await row(services, url)
            assert UploadStatus.UPLOADING is half.status
            resumed: Uploader = await asyncio.to_thread(
                lambda: Uploader(
                    file_stream=io.BytesIO(content), url=url, client=client, chunk_size=8 * MB, upload_checksum=True
                )
            )
            assert (half.received_bytes, True) == (resumed.offset, uploader.offset <= half.received_bytes)
            await asyncio.to_thread(resumed.upload)

        done = await row(services, url)
        assert (UploadStatus.COMPLETED, "holiday.mp4", sha256(content)) == (done.status, done.filename, done.sha256)
        assert content == services.files.resolve(done.path or "").read_bytes()
