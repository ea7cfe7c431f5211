"""Idempotency: what was asked for once under a key is done once, however often it is asked for again.

A key belongs to one user. Its row is written in the transaction of the effect, so either both are there or neither is;
whoever asks while the first call is still running is told so at once. The fingerprint is of what the call means, not of
how it was written. Everything is in PostgreSQL: with Redis away nothing changes.
"""

import hashlib
import re
import unicodedata
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from db import replays
from db.database import Transaction
from guards.errors import BadInput, InProgress, KeyReused

KEPT_FOR: Final = timedelta(hours=24)
"""How long an answer is kept; the same key afterwards begins anew."""

PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Under what a call is known again."""

    principal: UUID
    text: str
    """As the client chose it."""

    action: str
    fingerprint: bytes
    """SHA-256 of the action and its payload."""


class Replays:
    """Knows calls again."""

    async def begin(self, tx: Transaction, key: Key) -> bytes | None:
        """The answer of the first call under this key; None when this is the first, which then holds the key.

        Raises:
            InProgress: the first call has not ended yet.
            KeyReused: the first call was another one.
        """
        if not await tx.try_hold(f"{tx.tenant}/replay/{key.principal}/{key.text}"):
            raise InProgress("the same call is still being carried out: ask again in a moment", retry_after=1)
        found = await replays.by_key(tx, key.principal, key.text, kept_for=KEPT_FOR)
        if found is None:
            return None
        if found.fingerprint != key.fingerprint:
            raise KeyReused("this idempotency key was used for another call: choose a new one for each")
        return found.answer

    async def keep(self, tx: Transaction, key: Key, answer: bytes) -> None:
        """Remember the answer for as long as the effect of this transaction stands."""
        await replays.put(tx, key.principal, key.text, action=key.action, fingerprint=key.fingerprint, answer=answer)


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
    meaning = [action, _canonical(msgspec.to_builtins(payload))]
    return hashlib.sha256(msgspec.json.encode(meaning, order="deterministic")).digest()


def _canonical(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_canonical(name): _canonical(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    return value
