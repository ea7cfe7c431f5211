"""Files made for whoever asked: exports, reports and backups, in the file store behind a signed link.

A file is durable in the store before its row is written, and the row is what keeps the sweeps from taking it away; both
go once the row has expired. A link is handed to who asked, and kept nowhere but in the answer.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from msgspec import Meta

from db import artifacts, configuration, tunables
from db.artifacts import NewArtifact
from db.database import Transaction
from db.files import BLOCK, DiskFull, FileKind, TooLong
from db.models.work import ArtifactKind
from db.rows import Row
from guards.errors import BadInput, TooLarge, Unavailable
from resolvers.context import Context

LINK_LIVES: Final = timedelta(hours=1)
"""How long a link to it can be used."""

LARGEST: Final = 4 * 1024**3
"""Bytes one such file may have."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,119}")
_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,8}")

Content = bytes | Path | AsyncIterator[bytes]
"""What is in a file: all of it, where it lies, or as it comes; the last two with a block in memory at a time."""


class Kept(Row, frozen=True, kw_only=True):
    """A file that can be fetched."""

    filename: str
    size_bytes: Annotated[int, Meta(extra={"big": True})]
    sha256: str
    download_url: str
    """Good for an hour; whoever holds it may fetch the file."""

    expires_at: datetime
    """When the file goes."""


async def kept(context: Context, name: str, media_type: str, content: Content) -> Kept:
    """Keep a file for the caller's tenant, in a transaction of its own; for `prepare` and operations.

    It stays for a week, unless the configuration says otherwise.

    Args:
        name: how it is called when it is saved: letters, digits, spaces, `.`, `_` and `-`.

    Raises:
        BadInput: the name is none.
        TooLarge: there are more bytes than are kept.
        Unavailable: the disk is full.
    """
    made = await put(context, name, media_type, content)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await recorded(context, tx, made)


async def put(context: Context, name: str, media_type: str, content: Content) -> NewArtifact:
    """The same without its row, which `recorded` writes in the transaction of what the file is of."""
    if not _NAME.fullmatch(name):
        raise BadInput("name: letters, digits, spaces, `.`, `_` and `-` are taken, at most 120")
    suffix = Path(name).suffix.lower()
    files, tenant = context.services.files, context.caller.tenant
    try:
        async with files.spooled(_streamed(content), most=LARGEST) as whole:
            path = await files.settle(whole, tenant, FileKind.REPORTS, suffix if _SUFFIX.fullmatch(suffix) else "")
    except TooLong as error:
        raise TooLarge(f"{name} has more than {LARGEST} bytes: ask for less at once") from error
    except DiskFull as error:
        raise Unavailable("the disk is full: nothing was kept") from error
    return NewArtifact(
        kind=ArtifactKind.REPORT,
        name=name,
        path=path,
        media_type=media_type,
        size_bytes=whole.size_bytes,
        sha256=whole.sha256,
    )


async def recorded(context: Context, tx: Transaction, made: NewArtifact) -> Kept:
    """Write the row of a file that was put, so that it stays for its time, and make a link to it."""
    days: int = tunables.value(await configuration.in_force(tx), tunables.REPORT_RETENTION_DAYS)
    kept = await artifacts.keep(tx, made, lasting=timedelta(days=days))
    assert kept.expires_at is not None
    return Kept(
        filename=made.name,
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        download_url=context.services.links.to(context.caller.tenant, made.path, made.name, ttl=LINK_LIVES),
        expires_at=kept.expires_at,
    )


def sha256(content: bytes) -> str:
    """The digest by which whoever gets some bytes can tell that they are all there."""
    return hashlib.sha256(content).hexdigest()


async def _streamed(content: Content) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        file: BinaryIO = await asyncio.to_thread(_opened, content)
        try:
            while block := await asyncio.to_thread(file.read, BLOCK):
                yield block
        finally:
            file.close()
    else:
        async for part in content:
            yield part


def _opened(path: Path) -> BinaryIO:
    # Not through a link: what is named here becomes readable to whoever holds the address.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0)
