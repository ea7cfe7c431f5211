"""The native part of uploads over REST: bytes do not fit through GraphQL."""

import re
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final, TypedDict
from uuid import UUID

from starlette.requests import Request

from db.files import Spooled
from db.models.work import UploadStatus
from db.uploads import Range
from guards.errors import BadInput, NotFound
from resolvers import uploads
from resolvers.context import Context
from resolvers.queries import uploads as seen
from resolvers.uploads import LARGEST_CHUNK
from schema.rest import bodies

CHUNK_FORM: Final = ("upload_id", "chunk_index", "file", "sha256?")
_INDEX: Final = re.compile(r"[0-9]{1,6}")


class Stretch(TypedDict):
    """Bytes of an upload; the end is exclusive."""

    start: int
    end: int


class ChunkTaken(TypedDict):
    """What sending a chunk answers."""

    upload_id: UUID
    chunk_index: int
    received: bool
    received_bytes: int
    progress: int
    status: UploadStatus


class Standing(TypedDict):
    """How an upload stands."""

    id: UUID
    filename: str
    size_bytes: int
    chunk_bytes: int
    chunk_count: int
    received_bytes: int
    progress: int
    status: UploadStatus
    received: list[Stretch]
    missing: list[Stretch]
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None


async def chunk(request: Request, context: Context) -> ChunkTaken:
    """Take a chunk from a form with `file`, `chunk_index`, `upload_id` and perhaps `sha256`, in any order."""
    fields: dict[str, str] = {}
    spooled: Spooled | None = None
    async with AsyncExitStack() as stack:
        async for part in bodies.form(request, most=LARGEST_CHUNK + bodies.FORM_ROOM):
            if part.name != "file":
                fields[part.name] = await part.text()
                continue
            if spooled is not None:
                raise BadInput("file: one is taken at a time")
            if "upload_id" in fields:
                # Known beforehand, a wrong one costs nobody eight megabytes.
                await uploads.sendable(context, _upload_id(fields["upload_id"]))
            spooled = await stack.enter_async_context(uploads.spooled(context, part.stream()))
        if spooled is None:
            raise BadInput("file: the bytes of the chunk are needed")
        upload_id, index = _upload_id(_needed(fields, "upload_id")), _index(_needed(fields, "chunk_index"))
        upload = await uploads.keep(context, upload_id, index, spooled, fields.get("sha256") or None)
    return {
        "upload_id": upload.id,
        "chunk_index": index,
        "received": True,
        "received_bytes": upload.received_bytes,
        "progress": upload.progress,
        "status": upload.status,
    }


async def status(request: Request, context: Context) -> Standing:
    """How far an upload has come: which bytes are there, and which are still to be sent."""
    progress = await seen.status(context, _upload_id(request.path_params["upload_id"]))
    upload = progress.upload
    return {
        "id": upload.id,
        "filename": upload.filename,
        "size_bytes": upload.size_bytes,
        "chunk_bytes": upload.chunk_bytes,
        "chunk_count": upload.chunk_count,
        "received_bytes": upload.received_bytes,
        "progress": upload.progress,
        "status": upload.status,
        "received": [_shown(stretch) for stretch in progress.received],
        "missing": [_shown(stretch) for stretch in progress.missing],
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "completed_at": upload.completed_at,
    }


def _shown(stretch: Range) -> Stretch:
    return {"start": stretch.start, "end": stretch.end}


def _needed(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise BadInput(f"{name}: the form has none")
    return fields[name]


def _index(text: str) -> int:
    if not _INDEX.fullmatch(text):
        raise BadInput("chunk_index: a whole number from 0 is needed")
    return int(text)


def _upload_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        if not text.strip():
            raise BadInput("upload_id: it is empty") from error
        raise NotFound(f"there is no upload {text[:50]}") from error
