"""Exports of the audit trail: lines for an auditor, who can tell later that they are whole and unchanged.

A line is an entry with all that its hash is taken of; the last line says what the others are and bears a signature.
Addresses are not in it: of who called from where there is the commitment alone.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from db import audit
from db.audit import Link
from db.database import Database
from guards.seals import Seals, Signature
from guards.trail import BATCH, digest

FORMAT: Final = "agentos audit export 1"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as a line of an export; documents stay in the words of the database, of which the hash is taken."""

    tenant: str
    seq: int
    at: datetime
    actor: UUID | None
    role: str | None
    action: str
    target: str | None
    outcome: str
    code: str | None
    trace: str | None
    key_hash: str | None
    details: msgspec.Raw
    result: msgspec.Raw
    commitment: str | None
    previous: str
    hash: str


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has of one tenant: every entry from the first to the last."""

    tenant: str
    first: int
    last: int
    hash: str
    """Of the last entry, and so of all before it."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an export is."""

    format: str
    made_at: datetime
    since: datetime | None
    until: datetime | None
    entries: int
    sha256: str
    """Of all lines before this one, each with its end of line."""

    parts: list[Part]
    key: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The last line."""

    manifest: msgspec.Raw
    signature: str


class Broken(ValueError):
    """An export is not what was once written; the message says where."""


async def export(
    database: Database,
    seals: Seals,
    tenants: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AsyncIterator[bytes]:
    """The lines of an export, each with its end of line; the last one is the signed manifest.

    Args:
        since: inclusive; entries in between that were begun earlier are in it all the same.
        until: exclusive.
    """
    sha, parts, count = hashlib.sha256(), [], 0
    for tenant in tenants:
        async with database.system() as tx:
            span = await audit.span(tx, tenant, since, until)
        if span is None:
            continue
        last = ""
        async for link in _links(database, tenant, *span):
            line = msgspec.json.encode(_exported(link)) + b"\n"
            sha.update(line)
            count, last = count + 1, link.hash.hex()
            yield line
        parts.append(Part(tenant=tenant, first=span[0], last=span[1], hash=last))
    manifest = msgspec.json.encode(
        Manifest(
            format=FORMAT,
            made_at=datetime.now(UTC),
            since=since,
            until=until,
            entries=count,
            sha256=sha.hexdigest(),
            parts=parts,
            key=seals.key_id,
        )
    )
    signature = seals.signed(manifest)
    yield msgspec.json.encode(Signed(manifest=msgspec.Raw(manifest), signature=signature.value.hex())) + b"\n"


def check(seals: Seals, lines: Iterable[bytes]) -> Manifest:
    """What an export is, once it is sure that it is whole and unchanged.

    Raises:
        Broken: it is not, or none of our keys has signed it.
    """
    sha, seen, before = hashlib.sha256(), _Seen(), b""
    for number, line in enumerate(lines):
        if before:
            sha.update(before)
            seen.add(before, number)
        before = line
    manifest = _manifest(seals, before)
    if manifest.sha256 != sha.hexdigest() or manifest.entries != seen.count:
        raise Broken("the lines are not those that were signed")
    if manifest.parts != seen.parts:
        raise Broken("the entries are not those that the manifest names")
    return manifest


class _Seen:
    """What the lines of an export have said so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.count = 0

    def add(self, line: bytes, number: int) -> None:
        try:
            link = _link(msgspec.json.decode(line, type=Exported))
        except (ValueError, msgspec.MsgspecError) as error:
            raise Broken(f"line {number} is no entry") from error
        if digest(link) != link.hash:
            raise Broken(f"line {number}: entry {link.seq} was edited")
        part = Part(tenant=link.tenant_id, first=link.seq, last=link.seq, hash=link.hash.hex())
        if self.parts and self.parts[-1].tenant == link.tenant_id:
            so_far = self.parts.pop()
            if link.seq != so_far.last + 1 or link.previous.hex() != so_far.hash:
                raise Broken(f"line {number}: entry {link.seq} does not follow from entry {so_far.last}")
            part = msgspec.structs.replace(part, first=so_far.first)
        self.parts.append(part)
        self.count += 1


async def _links(database: Database, tenant: str, first: int, last: int) -> AsyncIterator[Link]:
    after = first - 1
    while after < last:
        async with database.system() as tx:
            links = await audit.links(tx, tenant, after=after, most=min(BATCH, last - after))
        for link in links:
            if link.seq <= last:
                yield link
        after = links[-1].seq if links else last


def _exported(link: Link) -> Exported:
    return Exported(
        tenant=link.tenant_id,
        seq=link.seq,
        at=link.at,
        actor=link.actor_id,
        role=link.role,
        action=link.action,
        target=link.target,
        outcome=link.outcome,
        code=link.code,
        trace=link.trace_id,
        key_hash=_hex(link.key_hash),
        details=msgspec.Raw(link.details.encode()),
        result=msgspec.Raw(link.result.encode()),
        commitment=_hex(link.commitment),
        previous=link.previous.hex(),
        hash=link.hash.hex(),
    )


def _link(line: Exported) -> Link:
    return Link(
        tenant_id=line.tenant,
        seq=line.seq,
        at=line.at,
        actor_id=line.actor,
        role=line.role,
        action=line.action,
        target=line.target,
        outcome=line.outcome,
        code=line.code,
        trace_id=line.trace,
        key_hash=None if line.key_hash is None else bytes.fromhex(line.key_hash),
        details=bytes(line.details).decode(),
        result=bytes(line.result).decode(),
        commitment=None if line.commitment is None else bytes.fromhex(line.commitment),
        previous=bytes.fromhex(line.previous),
        hash=bytes.fromhex(line.hash),
    )


def _manifest(seals: Seals, line: bytes) -> Manifest:
    try:
        signed = msgspec.json.decode(line, type=Signed)
        manifest = msgspec.json.decode(signed.manifest, type=Manifest)
        signature = Signature(manifest.key, bytes.fromhex(signed.signature))
    except (ValueError, msgspec.MsgspecError) as error:
        raise Broken("the last line is no manifest: the export is not whole") from error
    if not seals.vouched(bytes(signed.manifest), signature):
        raise Broken("none of our keys has signed this")
    return manifest


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else raw.hex()
