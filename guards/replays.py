"""Idempotency: what was asked for once under a key is done once, however often it is asked for again.

A key belongs to one user. Its row is written in the transaction of the effect, so either both are there or neither is;
whoever asks while the first call is still running is told so at once. The fingerprint is of what the call means, not of
how it was written. An answer is kept for 24 hours by the database's clock. Everything is in PostgreSQL: with Redis away
nothing changes; with PostgreSQL away nothing runs.

Kept are answers of what was carried out, and the refusals of `SETTLED`, which would be the same the next time. Any
other refusal, and a fault of ours, leaves the key free, for then nothing was done and the same call may yet succeed.
"""

import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec

from db import replays
from db.database import Transaction
from db.replays import NewReplay, Replay
from guards.errors import BadInput, InProgress, KeyReused, NotFound, Refusal, TooLarge, Unsupported, family

KEPT_FOR: Final = replays.KEPT_FOR
"""How long an answer is kept; the same key afterwards begins anew."""

SETTLING_FOR: Final = timedelta(seconds=10)
"""How long a call may take to complete its answer after the effect; without it, what there is counts as the answer."""

SETTLED: Final = (NotFound, TooLarge, Unsupported)
"""Refusals that are facts about what was asked for: they are answers, and told again like any other."""

REPLAYED: Final = MappingProxyType({"idempotent-replayed": "true"})
"""What an answer over HTTP says when nothing of it was done now."""

PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Under what a call is known again."""

    principal: UUID
    text: str
    """As the client chose it."""

    action: str
    fingerprint: bytes
    """SHA-256 of the action and its payload."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """How a call was answered before."""

    answer: bytes = b""
    """As JSON; empty when it was refused."""

    refusal: Refusal | None = None


class _Told(msgspec.Struct, frozen=True):
    """What is kept of a refusal beside its code."""

    message: str
    retry_after: int | None


class Replays:
    """Knows calls again."""

    async def begin(self, tx: Transaction, key: Key) -> Known | None:
        """How the first call under this key was answered; None when this is the first, which then holds the key.

        Raises:
            InProgress: the first call has not ended yet.
            KeyReused: the first call was another one.
        """
        if not await tx.try_hold(f"{tx.tenant}/replay/{key.principal}/{key.text}"):
            raise _in_progress()
        return await self.recalled(tx, key)

    async def recalled(self, tx: Transaction, key: Key) -> Known | None:
        """How a call was answered that has ended, without holding its key; None when there is none.

        Raises:
            InProgress: it was carried out, and its answer is being completed.
            KeyReused: it was another one.
        """
        found = await replays.by_key(tx, key.principal, key.text)
        if found is None:
            return None
        if found.fingerprint != key.fingerprint:
            raise KeyReused("this idempotency key was used for another call: choose a new one for each")
        if found.settling:
            raise _in_progress()
        return Known(answer=found.answer) if found.code is None else Known(refusal=_refusal(found.code, found))

    async def keep(self, tx: Transaction, key: Key, answer: bytes, *, whole: bool) -> None:
        """Remember the answer for as long as the effect of this transaction stands.

        Args:
            whole: whether it stays as it is; otherwise `settle` follows.
        """
        await replays.put(tx, _new(key, answer), settling_for=None if whole else SETTLING_FOR)

    async def keep_refusal(self, tx: Transaction, key: Key, refusal: Refusal) -> None:
        """Remember that the answer was a refusal, one of `SETTLED`."""
        told = _Told(str(refusal), refusal.retry_after)
        await replays.put(tx, _new(key, msgspec.json.encode(told), code=refusal.code))

    async def settle(self, tx: Transaction, key: Key, answer: bytes) -> None:
        """Complete an answer that was not whole."""
        await replays.settle(tx, key.principal, key.text, fingerprint=key.fingerprint, answer=answer)


def require_key(text: str) -> str:
    """A key that a client chose.

    Raises:
        BadInput: it is too short, too long, or has other characters than letters, digits, `_` and `-`.
    """
    if not PATTERN.fullmatch(text):
        raise BadInput("an idempotency key has 16 to 128 letters, digits, `_` or `-`; a UUID is a good one")
    return text


def fingerprint(action: str, payload: Any) -> bytes:
    """The SHA-256 of what a call means: the action and its payload with all defaults in it, in one canonical form."""
    plain = msgspec.to_builtins(payload, builtin_types=(datetime,), order="deterministic")
    # The standard library's, for it has no largest integer.
    text = json.dumps([action, _canonical(plain)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _canonical(value: Any) -> Any:
    """A value in the one form of all that are equal to it as JSON."""
    match value:
        case str():
            return unicodedata.normalize("NFC", value)
        case float() if value.is_integer():
            return int(value)
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case datetime():
            return value.isoformat()
        case dict():
            named = {_canonical(name): _canonical(each) for name, each in value.items()}
            # Two names that differ in their form alone are two things all the same.
            return named if len(named) == len(value) else {name: _canonical(each) for name, each in value.items()}
        case list() | tuple():
            return [_canonical(each) for each in value]
    return value


def _new(key: Key, answer: bytes, *, code: str | None = None) -> NewReplay:
    return NewReplay(
        principal=key.principal,
        key=key.text,
        action=key.action,
        fingerprint=key.fingerprint,
        answer=answer,
        code=code,
    )


def _refusal(code: str, found: Replay) -> Refusal:
    told = msgspec.json.decode(found.answer, type=_Told)
    [kind] = [kind for settled in SETTLED for kind in family(settled) if kind.code == code]
    return kind(told.message, retry_after=told.retry_after)


def _in_progress() -> InProgress:
    return InProgress("the same call is still being carried out: ask again in a moment", retry_after=1)
