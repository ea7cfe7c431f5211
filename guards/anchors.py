"""Anchors: signed statements of how far the audit trail is, kept where the database cannot rewrite them.

A chain of hashes shows that something in its middle was changed, but whoever rules the database can cut its end off or
chain all of it anew. So at most every minute the head of each tenant is signed, and written to a file that is only
appended to before the database keeps the same. Months that nobody has to keep any more leave a checkpoint behind, said
in the same two places. PostgreSQL or the disk away: nothing is anchored, and the next round does it.
"""

import asyncio
import os
import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from db import audit
from db.audit import Anchor, Head
from db.database import Database
from guards.seals import Seals, Signature

AGE: Final = timedelta(seconds=60)
"""How old an anchor becomes before the next, if anything was added."""

ROWS: Final = 1_000
"""After how many entries there is one earlier."""

MONTHS_AHEAD: Final = 12
RETENTION_YEARS: Final = 7

ANCHOR: Final = "anchor"
CHECKPOINT: Final = "checkpoint"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A statement as it is written to the file."""

    kind: str
    tenant: str
    seq: int
    hash: str
    at: datetime
    key: str
    signature: str


class Anchors:
    """Says how far the trail is, and drops what is out of date; one object for a process."""

    def __init__(self, database: Database, seals: Seals, file: Path) -> None:
        self._database = database
        self._seals = seals
        self.file = file

    async def settle(self) -> int:
        """Anchor every tenant whose turn it is; how many those were. Another process at it: none."""
        async with self._database.system() as tx:
            if not await tx.try_hold("audit anchors"):
                return 0
            said = [self._said(ANCHOR, head) for head in await audit.unanchored(tx, age=AGE, rows=ROWS)]
            if said:
                # Before the commit, and within the lock: an anchor of the database alone could be taken away again.
                await asyncio.to_thread(_append, self.file, said)
                await audit.anchor(tx, said)
        return len(said)

    async def keep_months(self, *, today: date | None = None) -> list[date]:
        """Make room for the coming year and drop the months that are out of date; which months were dropped."""
        async with self._database.system() as tx:
            await audit.prepare(tx, months=MONTHS_AHEAD)
            months = await audit.months(tx)
        over = [month for month in months if _dispensable(month, today or datetime.now(UTC).date())]
        for month in over:
            await self._retire(month)
        return over

    async def _retire(self, month: date) -> None:
        async with self._database.system() as tx:
            await tx.hold("audit anchors")
            said = [self._said(CHECKPOINT, head) for head in await audit.lasts(tx, month)]
            await asyncio.to_thread(_append, self.file, said)
            await audit.anchor(tx, said)
            await audit.retire(tx, month)

    def _said(self, kind: str, head: Head) -> Anchor:
        at = datetime.now(UTC)
        signature = self._seals.signed(statement(kind, head.tenant_id, head.seq, head.hash, at))
        return Anchor(head.tenant_id, head.seq, head.hash, at, kind, signature.key_id, signature.value)


def holds(seals: Seals, said: Anchor) -> bool:
    """Whether a statement was signed with one of our keys, just as it is."""
    message = statement(said.kind, said.tenant_id, said.seq, said.hash, said.at)
    return seals.vouched(message, Signature(said.key_id, said.signature))


def statement(kind: str, tenant: str, seq: int, digest: bytes, at: datetime) -> bytes:
    """What is signed."""
    return framed([f"agentos audit {kind} 1", tenant, str(seq), digest.hex(), written(at)])


def framed(parts: Iterable[str | None]) -> bytes:
    """Texts in a row that can be read in one way only; just as `audit_trail.framed` does it."""
    raw = (None if part is None else part.encode() for part in parts)
    return b"".join(struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part for part in raw)


def written(at: datetime) -> str:
    """A time in UTC to the microsecond; just as the database writes it for the hash."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(file: Path) -> list[Anchor]:
    """Every statement of the file; a line that a power cut left unfinished is none.

    Raises:
        ValueError: a line is no statement; the message has its number.
    """
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")
    return [_read(line, number) for number, line in enumerate(lines, start=1) if line.endswith(b"}")]


def _read(line: bytes, number: int) -> Anchor:
    try:
        said = msgspec.json.decode(line, type=Line)
        digest, signature = bytes.fromhex(said.hash), bytes.fromhex(said.signature)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"line {number} of the anchors is damaged") from error
    return Anchor(said.tenant, said.seq, digest, said.at, said.kind, said.key, signature)


def _append(file: Path, said: list[Anchor]) -> None:
    if not said:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        msgspec.json.encode(
            Line(
                kind=each.kind,
                tenant=each.tenant_id,
                seq=each.seq,
                hash=each.hash.hex(),
                at=each.at,
                key=each.key_id,
                signature=each.signature.hex(),
            )
        )
        for each in said
    ]
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # A power cut may have left half a line; what follows must not become part of it.
        torn = os.fstat(handle).st_size and os.pread(handle, 1, os.fstat(handle).st_size - 1) != b"\n"
        os.write(handle, (b"\n" if torn else b"") + b"\n".join(lines) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def _dispensable(month: date, today: date) -> bool:
    after = date(month.year + RETENTION_YEARS + month.month // 12, month.month % 12 + 1, 1)
    return after <= today
