"""The native part of uploads over REST: bytes do not fit through GraphQL."""

import re
from contextlib import AsyncExitStack
from typing import Annotated, Final, NotRequired, TypedDict
from uuid import UUID

from msgspec import Meta
from starlette.requests import Request

from db.files import Spooled
from db.models.work import UploadStatus
from guards.allowances import Rate
from guards.errors import BadInput, NotFound
from resolvers import uploads
from resolvers.context import Context
from resolvers.uploads import LARGEST_CHUNK, LARGEST_FILE
from schema.rest import bodies

SENDING: Final = Rate(600)
"""How often a minute one may send: a large file is a call with many parts, and how much one may send is bounded by its
bytes."""

_INDEX: Final = re.compile(r"[0-9]{1,6}")

Digest = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$")]


class Digested(TypedDict, total=False):
    """What may be said of the bytes of a file."""

    sha256: Digest | None
    """Hex digest of the whole, which is compared in the end."""


class Begun(Digested, total=False):
    """What is going to be sent."""

    file_size: Annotated[int, Meta(ge=1, le=LARGEST_FILE)]
    """Bytes."""

    chunk_size: Annotated[int, Meta(ge=1, le=LARGEST_CHUNK)] | None
    """Length of every chunk but the last; 8 MB unless said, and not so short that there would be over ten thousand."""


class Chunk(TypedDict):
    """The form of a chunk."""

    upload_id: Annotated[str, Meta(min_length=1)]
    chunk_index: Annotated[str, Meta(pattern="^[0-9]{1,6}$")]
    """From 0."""

    file: bytes
    sha256: NotRequired[Digest]
    """Hex digest of the chunk; compared when given."""


class ChunkTaken(TypedDict):
    """What sending a chunk answers."""

    upload_id: UUID
    chunk_index: int
    received: bool
    received_bytes: int
    progress: int
    status: UploadStatus


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
                await uploads.sendable(context, upload_id_of(fields["upload_id"]))
            spooled = await stack.enter_async_context(uploads.spooled(context, part.stream()))
        if spooled is None:
            raise BadInput("file: the bytes of the chunk are needed")
        upload_id, index = upload_id_of(_needed(fields, "upload_id")), _index(_needed(fields, "chunk_index"))
        upload = await uploads.keep(context, upload_id, index, spooled, fields.get("sha256") or None)
    return {
        "upload_id": upload.id,
        "chunk_index": index,
        "received": True,
        "received_bytes": upload.received_bytes,
        "progress": upload.progress,
        "status": upload.status,
    }


def _needed(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise BadInput(f"{name}: the form has none")
    return fields[name]


def _index(text: str) -> int:
    if not _INDEX.fullmatch(text):
        raise BadInput("chunk_index: a whole number from 0 is needed")
    return int(text)


def upload_id_of(text: str) -> UUID:
    """The id of an upload as a client wrote it.

    Raises:
        BadInput: it is empty.
        NotFound: it is none, and so none of an upload either.
    """
    try:
        return UUID(text)
    except ValueError as error:
        if not text.strip():
            raise BadInput("upload_id: it is empty") from error
        raise NotFound(f"there is no upload {text[:50]}") from error
