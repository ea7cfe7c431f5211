"""Passwords: argon2id, hashed and compared in a thread, because one hash keeps a core busy for a tenth of a second."""

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from guards.errors import BadInput

SHORTEST = 10
LONGEST = 256

_hasher = PasswordHasher()
# Compared against when there is no such user, so that a miss takes as long as a hit.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$2o0nF1Wq1bJqWmO2X4x9Zc0r3rQ2mJm7mYw0bq0bq0s"


def generated() -> str:
    """A password nobody can guess, for the first administrator."""
    return secrets.token_urlsafe(18)


async def hashed(password: str) -> str:
    """The argon2id string to store.

    Raises:
        BadInput: it is shorter than 10 or longer than 256 characters, or no text that can be encoded.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadInput(f"password: {SHORTEST} to {LONGEST} characters are needed")
    try:
        return await asyncio.to_thread(_hasher.hash, password)
    except UnicodeEncodeError as error:
        raise BadInput("password: half of a surrogate pair is no character") from error


async def matches(password: str, stored: str | None) -> bool:
    """Whether a password is the one that was stored; takes equally long when there is none."""
    return await asyncio.to_thread(_verified, password[:LONGEST], stored or _NOBODY) and stored is not None


def _verified(password: str, stored: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
