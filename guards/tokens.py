"""Access tokens: EdDSA JWTs of at most fifteen minutes, checked against every rule there is (RFC 8725, RFC 9068).

Keys live in one JSON file of the data directory, or come ready-made from the environment; there is no default key, and
a server without one does not start. One key signs, all of them verify, and the public halves are published as a
JWKS. A key is published one step before it signs and kept one token life after, so a rotation refuses nobody.
"""

import base64
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from db.models.identity import Role
from guards.callers import Caller
from guards.errors import Unauthenticated

LONGEST_LIFE = timedelta(minutes=15)
LEEWAY_S = 10
TYPE = "at+jwt"
LONGEST_TOKEN = 8192
_HEADER = frozenset({"alg", "typ", "kid"})
_REQUIRED = ("exp", "iat", "nbf", "sub", "aud", "iss", "jti")


class Key(msgspec.Struct, frozen=True):
    """One signing key; `id` is its RFC 7638 thumbprint."""

    id: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey

    @property
    def jwk(self) -> dict[str, str]:
        """The public half, as a JWKS entry."""
        return {**_jwk(self.public), "kid": self.id, "alg": "EdDSA", "use": "sig"}


class KeyRing:
    """The keys that verify; the last but one signs, the last waits, published, for its turn."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = list(keys)
        if not self._keys:
            raise ValueError("there is no signing key: set AGENTOS_JWT_KEYS or let `agentos up` make one")
        self._by_id = {key.id: key for key in self._keys}

    @property
    def signer(self) -> Key:
        """The key that signs: one that verifiers have seen published before."""
        return self._keys[-2] if len(self._keys) > 1 else self._keys[-1]

    def named(self, key_id: object) -> Key | None:
        """The key of that id, or None; only ever looked up here, never fetched."""
        return self._by_id.get(key_id) if isinstance(key_id, str) else None

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """What `/.well-known/jwks.json` publishes."""
        return {"keys": [key.jwk for key in self._keys]}

    def rotated(self) -> "KeyRing":
        """A ring with a fresh key at the end; the two newest before it stay, so nobody's token breaks."""
        return KeyRing([*self._keys[-2:], new_key()])

    def stored(self) -> str:
        """The private keys as JSON, for a file that only the owner can read."""
        raws = (k.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()) for k in self._keys)
        return json.dumps([base64.urlsafe_b64encode(raw).decode() for raw in raws])

    @classmethod
    def parsed(cls, text: str | bytes) -> "KeyRing":
        """A ring from what `stored` wrote.

        Raises:
            ValueError: it is not a JSON list of base64 keys of 32 bytes.
        """
        try:
            raws = [base64.urlsafe_b64decode(item) for item in msgspec.json.decode(text, type=list[str])]
            return cls([_key(Ed25519PrivateKey.from_private_bytes(raw)) for raw in raws])
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"the signing keys cannot be read: {error}") from error

    @classmethod
    def kept_in(cls, file: Path) -> "KeyRing":
        """The ring of a file, which is made with a first pair of keys when it does not exist yet.

        Raises:
            ValueError: the file is damaged.
        """
        if not file.exists():
            # Of several processes that start at once one makes the keys; the others take those.
            with _private(file, cls([new_key(), new_key()]).stored()) as fresh, suppress(FileExistsError):
                file.hardlink_to(fresh)
        return cls.parsed(file.read_bytes())

    def keep_in(self, file: Path) -> None:
        """Replace the file's keys by these, whole or not at all."""
        with _private(file, self.stored()) as fresh:
            fresh.replace(file)


def new_key() -> Key:
    """A fresh Ed25519 key."""
    return _key(Ed25519PrivateKey.generate())


class Tokens:
    """Makes access tokens and reads them back; one object for a process."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str = "agentos") -> None:
        self.ring = ring
        self._issuer = issuer
        self._audience = audience

    def issued(
        self,
        *,
        user_id: UUID,
        tenant: str,
        role: Role,
        token_version: int,
        life: timedelta = LONGEST_LIFE,
        now: float | None = None,
    ) -> str:
        """A signed access token for a user, good for `life` (at most fifteen minutes) from `now`."""
        if not timedelta(0) < life <= LONGEST_LIFE:
            raise ValueError(f"an access token lives at most {int(LONGEST_LIFE.total_seconds())} seconds")
        at = int(time.time() if now is None else now)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "jti": secrets.token_urlsafe(12),
            "iat": at,
            "nbf": at,
            "exp": at + int(life.total_seconds()),
            "tenant": tenant,
            "role": str(role),
            "ver": token_version,
        }
        key = self.ring.signer
        return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"typ": TYPE, "kid": key.id})

    def verified(self, token: str) -> Caller:
        """Who a token speaks for.

        Raises:
            Unauthenticated: it is forged, expired, of another kind, or breaks any other rule; the message says no more
                than a client needs.
        """
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("the access token is too long")
        try:
            header = jwt.get_unverified_header(token)
            key = self.ring.named(header.get("kid"))
            if key is None or header.get("typ") != TYPE or not set(header) <= _HEADER:
                raise Unauthenticated("the access token was not issued here")
            claims = jwt.decode(
                token,
                key.public,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": list(_REQUIRED)},
            )
            return _caller(claims)
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the access token has expired: refresh it or sign in again") from error
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated("the access token is not valid") from error


def _caller(claims: Mapping[str, Any]) -> Caller:
    exp, iat, version = claims["exp"], claims["iat"], claims["ver"]
    # By the type itself: True is an int as well, and a float or a numeric text would pass for a time.
    if any(type(number) is not int for number in (exp, iat, claims["nbf"], version)):
        raise ValueError("times and version are whole numbers")
    if exp - iat > LONGEST_LIFE.total_seconds():
        raise ValueError("lives too long")
    tenant = claims["tenant"]
    if not isinstance(tenant, str) or not tenant:
        raise ValueError("names no tenant")
    return Caller(
        user_id=UUID(claims["sub"]),
        tenant=tenant,
        role=Role(claims["role"]),
        token_id=str(claims["jti"]),
        token_version=version,
        expires_at=exp,
    )


def _key(private: Ed25519PrivateKey) -> Key:
    public = private.public_key()
    canonical = json.dumps(_jwk(public), separators=(",", ":"), sort_keys=True).encode()
    return Key(_b64(hashlib.sha256(canonical).digest()), private, public)


def _jwk(public: Ed25519PublicKey) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@contextmanager
def _private(file: Path, content: str) -> Iterator[Path]:
    """A file beside `file` that only the owner can read, durably written; what is left of it at the end is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)
