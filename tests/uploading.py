"""What tests of uploads share: services over the test's own stores, contexts of users, bytes that are a video."""

import hashlib
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from dataloaders.snapshot import About, Snapshots
from db import bells
from db import uploads as rows
from db.database import Database
from db.files import Files
from db.redis import Redis
from db.uploads import Range, Upload
from db.users import User
from guards.audit import Audit
from guards.breakers import Breakers
from guards.callers import Caller
from guards.chain import Chain
from guards.links import Links
from guards.lockouts import Lockouts
from guards.rates import Rates
from guards.replays import Replays
from guards.seals import Seals
from guards.sessions import Sessions
from guards.tokens import KeyRing, Tokens, new_key
from resolvers import uploads
from resolvers.context import Context, Services
from resolvers.live import Hub
from resolvers.operations import Operations
from resolvers.queries import uploads as seen
from resolvers.traffic import Recorder
from tests.acting import act
from workers.doorbell import Doorbell

FTYP = b"\0\0\0\x18ftypisom\0\0\2\0isomavc1"


def video(size: int, *, seed: int = 0) -> bytes:
    """Bytes that begin as an MP4 does; the rest differs from place to place."""
    filler = hashlib.shake_256(seed.to_bytes(4, "big")).digest(max(size - len(FTYP), 0))
    return (FTYP + filler)[:size]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def streamed(content: bytes, *, step: int = 65_536) -> AsyncIterator[bytes]:
    """Content as it comes from a socket."""
    for start in range(0, len(content), step):
        yield content[start : start + step]


def services_over(database: Database, redis: Redis, folder: Path, *, quota_bytes: int = 10**9) -> Services:
    """The services of one process over given stores."""
    database.bell = bells.of_events(redis)
    tokens = Tokens(KeyRing([new_key()]), issuer="tests")
    breakers = Breakers(database)
    audit = Audit(database, Seals(KeyRing([new_key()])))
    about = About(version="0", started_at=datetime.now(UTC), data_dir=folder, host="127.0.0.1", port=0, ws_port=0)
    return Services(
        database=database,
        redis=redis,
        tokens=tokens,
        sessions=Sessions(database, tokens, audit),
        snapshots=Snapshots(database, redis, about),
        files=Files(folder / "files", quota_bytes=quota_bytes),
        links=Links(b"tests" * 8, "http://127.0.0.1"),
        hub=Hub(database, redis),
        doorbell=Doorbell(redis),
        breakers=breakers,
        chain=Chain(database, Replays(), audit, breakers),
        operations=Operations(database, audit),
        rates=Rates(redis, database),
        lockouts=Lockouts(database),
        traffic=Recorder(database, uuid4()),
    )


def context_of(services: Services, user: User | None) -> Context:
    """One operation of a user, as a transport makes it."""
    caller = None
    if user is not None:
        caller = Caller(
            user_id=user.id,
            tenant=user.tenant_id,
            role=user.role,
            token_id=uuid4().hex,
            token_version=user.token_version,
            expires_at=int(datetime.now(UTC).timestamp()) + 600,
        )
    return Context.made(services, caller, trace_id=uuid4().hex, address="127.0.0.1")


async def opened(
    context: Context, filename: str, size_bytes: int, chunk_bytes: int | None = None, digest: str | None = None
) -> Upload:
    """An upload, as the action answers it."""
    begun = await act(
        context, "upload.init", filename=filename, size_bytes=size_bytes, chunk_bytes=chunk_bytes, sha256=digest
    )
    upload: Upload = begun.upload
    return upload


async def finalized(
    context: Context, upload_id: UUID, total_chunks: int | None = None, digest: str | None = None
) -> Upload:
    """An upload once it is complete, as the action answers it."""
    done = await act(context, "upload.finalize", upload_id=str(upload_id), total_chunks=total_chunks, sha256=digest)
    upload: Upload = done.upload
    return upload


async def fingerprint(context: Context, upload_id: UUID) -> object:
    """All that can be seen of an upload."""
    async with context.services.database.system() as tx:
        row, chunks = await rows.by_id(tx, upload_id), await rows.chunks_of(tx, upload_id)
    return row, chunks, pieces_on_disk(context.services.files, upload_id)


async def begun(context: Context, content: bytes, chunk_bytes: int, *, digest: str | None = None) -> Upload:
    """An upload of some content, nothing of it sent."""
    return await opened(context, "holiday.mp4", len(content), chunk_bytes, digest)


async def sent(context: Context, upload: Upload, content: bytes, *indexes: int) -> Upload:
    """The upload after some of its chunks were sent, or all of them if none is named."""
    for index in indexes or range(upload.chunk_count):
        start = index * upload.chunk_bytes
        chunk = content[start : start + upload.chunk_bytes]
        upload = await uploads.receive(context, upload.id, index, streamed(chunk), sha256(chunk))
    return upload


async def uploaded(context: Context, content: bytes, chunk_bytes: int = 1000) -> Upload:
    """A finalized upload of some content."""
    upload = await sent(context, await begun(context, content, chunk_bytes), content)
    return await finalized(context, upload.id)


class Standing(NamedTuple):
    """How an upload stands, as its status shows it."""

    upload: Upload
    received: list[Range]
    missing: list[Range]


async def standing(context: Context, upload_id: UUID) -> Standing | None:
    """How an upload stands; None if the caller may not see it, or there is none."""
    context.loaders = context.loaders.fresh()
    upload = await context.loaders.upload.load(upload_id)
    if upload is None:
        return None
    return Standing(upload, await seen.received(context, upload), await seen.missing(context, upload))


@contextmanager
def full_after(size_bytes: int) -> Iterator[None]:
    """No file of this process may be longer, which it finds out as it does that a disk is full: while it writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def pieces_on_disk(files: Files, upload_id: UUID) -> list[str]:
    """The names of an upload's pieces."""
    folder = files.root / ".partial" / str(upload_id)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
