"""A client of tus that says just what it is told to."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from db import uploads as rows
from db.uploads import Upload
from resolvers.context import Services
from tests.serving import Served
from tests.uploading import video

PLACE = "/files/uploads"
CONTENT = video(10_000)
STRETCH = {"content-type": "application/offset+octet-stream"}


def b64(content: bytes | str) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def checksum(content: bytes, algorithm: str = "sha256") -> dict[str, str]:
    return {"upload-checksum": f"{algorithm} {b64(hashlib.new(algorithm, content).digest())}"}


@dataclass
class Tus:
    """A client that says just what it is told to."""

    server: Served
    services: Services
    token: str

    async def ask(self, method: str, place: str, content: Any = None, **headers: str) -> httpx.Response:
        """A request of the protocol; a header that is empty is not sent."""
        said = {"tus-resumable": "1.0.0", "authorization": f"Bearer {self.token}"}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in said.items() if value}
        return await self.server.client.request(method, place, content=content, headers=kept)

    async def create(self, size: int = len(CONTENT), **headers: str) -> str:
        """Where a new upload is."""
        answer = await self.ask("POST", PLACE, upload_length=str(size), **headers)
        assert 201 == answer.status_code, answer.text
        return answer.headers["location"]

    async def patch(self, place: str, offset: int, content: Any, **headers: str) -> httpx.Response:
        """Bytes from an offset on."""
        return await self.ask("PATCH", place, content, **{"upload_offset": str(offset), **STRETCH, **headers})

    async def offset(self, place: str) -> int:
        """Where the upload goes on."""
        answer = await self.ask("HEAD", place)
        assert 200 == answer.status_code
        return int(answer.headers["upload-offset"])

    async def row(self, place: str) -> Upload:
        """The upload as it is on record."""
        async with self.services.database.system() as tx:
            found = await rows.by_id(tx, upload_id(place))
        assert found is not None
        return found

    async def content(self, place: str) -> bytes:
        """The finished file."""
        path = (await self.row(place)).path
        assert path is not None
        return self.services.files.resolve(path).read_bytes()


def upload_id(place: str) -> UUID:
    return UUID(place.rpartition("/")[2])
