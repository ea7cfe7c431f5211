"""Whether the audit trail is still what it was: every hash taken again, every anchor held against it.

The line of a tenant begins at 1, or after the last checkpoint; each entry's hash is of all of it and of the hash
before. What a chain cannot show by itself, that its end is missing or all of it was written anew, its anchors show.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from db import audit, subjects
from db.audit import Anchor, Link
from db.database import Database
from db.rows import Row
from guards.anchors import CHECKPOINT, framed, holds, written
from guards.seals import Seals

BATCH: Final = 2_000
BEGINNING: Final = bytes(32)
"""What the first entry of a line has for the hash before it."""


class Damage(StrEnum):
    """What is wrong with a trail."""

    EDITED = "edited"
    """An entry says something else than when its hash was taken."""

    MISSING = "missing"
    """Entries are gone from the middle, or from the beginning without a checkpoint."""

    REPEATED = "repeated"
    """Two entries have one number."""

    DETACHED = "detached"
    """An entry does not follow from the one before it."""

    REWRITTEN = "rewritten"
    """An entry is not the one that was anchored: it, or one before it, was replaced and all since chained anew."""

    CUT_OFF = "cut off"
    """The end is gone."""

    ADDED = "added"
    """Entries stand after the end that the database knows of."""

    UNSIGNED = "unsigned"
    """An anchor does not bear a signature of ours."""

    EXCHANGED = "exchanged"
    """The sealed identity beside an entry is not the one that the entry was made with."""


class Finding(Row, frozen=True, kw_only=True):
    """Where a trail is damaged first."""

    seq: int
    damage: Damage
    message: str


class Verdict(Row, frozen=True, kw_only=True):
    """What became of a tenant's trail."""

    tenant: str
    entries: int
    """How many were found sound before the first damage."""

    anchors: int
    """How many statements about it were held against it."""

    finding: Finding | None
    """None when all is well."""


class Damaged(Exception):
    """The trail is not what it was."""

    def __init__(self, seq: int, damage: Damage, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(seq=seq, damage=damage, message=message)


def digest(link: Link) -> bytes:
    """The hash of an entry, taken anew; just as `audit_trail.chain` does it."""
    parts = (
        "agentos audit 1",
        link.tenant_id,
        str(link.seq),
        written(link.at),
        None if link.actor_id is None else str(link.actor_id),
        link.role,
        link.action,
        link.target,
        link.outcome,
        link.code,
        link.trace_id,
        None if link.key_hash is None else link.key_hash.hex(),
        link.details,
        link.result,
        None if link.commitment is None else link.commitment.hex(),
        link.previous.hex(),
    )
    return hashlib.sha256(framed(parts)).digest()


async def verify(database: Database, seals: Seals, tenant: str, outside: Iterable[Anchor]) -> Verdict:
    """Read a tenant's trail from one end to the other and say where it is damaged first, if it is.

    Args:
        outside: what was anchored outside of the database (`anchors.read`); other tenants' is passed over.
    """
    async with database.system() as tx:
        head = await audit.head(tx, tenant)
        said = await audit.anchored(tx, tenant)
    said = _distinct([*said, *(each for each in outside if each.tenant_id == tenant)])
    walk = Walk(said)
    try:
        for each in said:
            if not holds(seals, each):
                raise Damaged(each.seq, Damage.UNSIGNED, f"the {each.kind} at {each.seq} bears no signature of ours")
        if head is not None:
            walk.expect(head.seq, head.hash)
        await _walked(database, seals, tenant, walk)
        async with database.system() as tx:
            now = await audit.head(tx, tenant)
        walk.end(0 if now is None else now.seq)
    except Damaged as damaged:
        return Verdict(tenant=tenant, entries=walk.entries, anchors=len(said), finding=damaged.finding)
    return Verdict(tenant=tenant, entries=walk.entries, anchors=len(said), finding=None)


async def _walked(database: Database, seals: Seals, tenant: str, walk: "Walk") -> None:
    after = 0
    while True:
        async with database.system() as tx:
            links = await audit.links(tx, tenant, after=after, most=BATCH)
            commitments = {link.commitment for link in links if link.commitment is not None}
            known = await subjects.readable(tx, tenant, commitments)
        if not links:
            return
        exchanged = {each.commitment for each in known if seals.opened(tenant, each) is None}
        for link in links:
            walk.step(link)
            if link.commitment in exchanged:
                raise Damaged(link.seq, Damage.EXCHANGED, f"whom entry {link.seq} is about was exchanged")
        after = links[-1].seq


class Walk:
    """One way along a tenant's line."""

    def __init__(self, said: Iterable[Anchor]) -> None:
        self._expected: defaultdict[int, set[bytes]] = defaultdict(set)
        for each in said:
            self._expected[each.seq].add(each.hash)
        marks = [each for each in said if each.kind == CHECKPOINT]
        mark = max(marks, key=lambda each: each.seq, default=None)
        self._dropped = 0 if mark is None else mark.seq
        self._seq = self._dropped
        self._previous = BEGINNING if mark is None else mark.hash
        self.entries = 0

    def expect(self, seq: int, digest: bytes) -> None:
        """Have the entry of that number bear that hash."""
        self._expected[seq].add(digest)

    def step(self, link: Link) -> None:
        """Go on to the next entry.

        Raises:
            Damaged: it is not what it should be.
        """
        seq = link.seq
        # Begun before a month ended and committed after it, an entry is in the month before its number's neighbours:
        # such a one may be left, alone, behind a checkpoint.
        alone = seq <= self._dropped
        if not alone and seq <= self._seq:
            raise Damaged(seq, Damage.REPEATED, f"there are two entries {seq}")
        if not alone and seq > self._seq + 1:
            raise Damaged(self._seq + 1, Damage.MISSING, f"entries {self._seq + 1} to {seq - 1} are missing")
        if digest(link) != link.hash:
            raise Damaged(seq, Damage.EDITED, f"entry {seq} was edited")
        if not alone and link.previous != self._previous:
            raise Damaged(seq, Damage.DETACHED, f"entry {seq} does not follow from the one before it")
        if any(said != link.hash for said in self._expected.get(seq, ())):
            since = max((at for at in self._expected if at < seq), default=0) + 1
            raise Damaged(seq, Damage.REWRITTEN, f"what was anchored at {seq} was rewritten, from {since} on or later")
        if not alone:
            self._seq, self._previous = seq, link.hash
        self.entries += 1

    def end(self, head: int) -> None:
        """The last entry was passed.

        Args:
            head: where the database believes the line to end.

        Raises:
            Damaged: the line should be longer, or shorter.
        """
        longest = max(self._expected, default=0)
        if self._seq < longest:
            raise Damaged(self._seq + 1, Damage.CUT_OFF, f"entries {self._seq + 1} to {longest} are cut off")
        if self._seq > head:
            raise Damaged(head + 1, Damage.ADDED, f"entries {head + 1} to {self._seq} were added past the database")


def _distinct(said: Iterable[Anchor]) -> list[Anchor]:
    return sorted(
        {(each.seq, each.kind, each.hash, each.at, each.signature): each for each in said}.values(),
        key=lambda each: each.seq,
    )
