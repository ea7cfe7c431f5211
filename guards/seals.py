"""Seals: what the audit trail signs with, and what keeps addresses out of it.

The keys are the trail's own and lie beside those of the tokens: tokens live for minutes and their keys are rotated
away, while an anchor must still be checked in seven years. Who called from where is sealed under a key made for just
that; the trail has a commitment to it, so that destroying the key takes the name away and nothing else.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.subjects import Subject
from guards.tokens import Key, KeyRing

LONGEST_AGENT: Final = 500
"""Characters of what a client says it is; the rest tells nobody anything."""

_NONCE: Final = 12


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """From where somebody called."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Signature:
    """Who vouches for some bytes, and how one can tell."""

    key_id: str
    value: bytes


class Seals:
    """Signs and seals with one set of keys; one object for a process."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @property
    def key_id(self) -> str:
        """Which key signs."""
        return self._ring.signer.id

    def signed(self, message: bytes) -> Signature:
        """A signature of these bytes."""
        key = self._ring.signer
        return Signature(key.id, key.private.sign(message))

    def vouched(self, message: bytes, signature: Signature) -> bool:
        """Whether one of our keys has signed just these bytes."""
        key = self._ring.named(signature.key_id)
        if key is None:
            return False
        try:
            key.public.verify(signature.value, message)
        except InvalidSignature:
            return False
        return True

    def handle(self, tenant: str, actor: UUID | None, identity: Identity) -> bytes:
        """Under what an identity is found again, without telling it to who has no key."""
        return self._keyed(self._ring.signer, "who", tenant, str(actor), identity.address, identity.user_agent)

    def place(self, tenant: str, address: str) -> bytes:
        """Under what everybody who called from an address is found again."""
        return self._keyed(self._ring.signer, "where", tenant, address)

    def places(self, tenant: str, address: str) -> list[bytes]:
        """The same under every key that there is."""
        known = (self._ring.named(each["kid"]) for each in self._ring.jwks["keys"])
        return [self._keyed(key, "where", tenant, address) for key in known if key is not None]

    def sealed(self, tenant: str, identity: Identity) -> Subject:
        """An identity under a fresh key of its own."""
        signer, own, plain = self._ring.signer, os.urandom(32), msgspec.json.encode(identity)
        commitment = _committed(own, plain)
        return Subject(
            commitment=commitment,
            key_id=signer.id,
            wrapped=_closed(self._wrapping(signer), own, tenant.encode() + commitment),
            sealed=_closed(_subkey(own, b"seal"), plain, commitment),
        )

    def opened(self, tenant: str, sealed: Subject) -> Identity | None:
        """The identity, or None when the key to it is not ours or anything about it was changed."""
        wrapping = self._ring.named(sealed.key_id)
        if wrapping is None:
            return None
        try:
            own = _open(self._wrapping(wrapping), sealed.wrapped, tenant.encode() + sealed.commitment)
            plain = _open(_subkey(own, b"seal"), sealed.sealed, sealed.commitment)
        except (InvalidTag, ValueError):
            return None
        if not hmac.compare_digest(_committed(own, plain), sealed.commitment):
            return None
        return msgspec.json.decode(plain, type=Identity)

    def _wrapping(self, key: Key) -> bytes:
        return _subkey(key.private.private_bytes_raw(), b"wrap identities")

    def _keyed(self, key: Key, *parts: str) -> bytes:
        secret = _subkey(key.private.private_bytes_raw(), b"find identities")
        return hmac.digest(secret, msgspec.json.encode(parts), hashlib.sha256)


def _subkey(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"agentos audit: " + purpose, hashlib.sha256)


def _committed(own: bytes, plain: bytes) -> bytes:
    return hmac.digest(_subkey(own, b"commit"), plain, hashlib.sha256)


def _closed(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def _open(key: bytes, closed: bytes, bound_to: bytes) -> bytes:
    return AESGCM(key).decrypt(closed[:_NONCE], closed[_NONCE:], bound_to)
