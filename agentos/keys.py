"""The keys of an installation: from the environment, else from its data directory, where a first pair is made."""

import hashlib

from agentos.settings import Settings
from guards.seals import Seals
from guards.tokens import KeyRing


def key_ring(settings: Settings) -> KeyRing:
    """The signing keys: from the environment, else from the data directory, where a first pair is made if need be.

    Raises:
        ValueError: they cannot be read.
    """
    if settings.jwt_keys is not None:
        return KeyRing.parsed(settings.jwt_keys.get_secret_value())
    return KeyRing.kept_in(settings.keys_file)


def seals_of(settings: Settings) -> Seals:
    """What the audit trail is signed and sealed with: keys of its own, which are kept for as long as the trail.

    Raises:
        ValueError: they cannot be read.
    """
    if settings.audit_keys is not None:
        return Seals(KeyRing.parsed(settings.audit_keys.get_secret_value()))
    return Seals(KeyRing.kept_in(settings.audit_dir / "keys.json"))


def link_secret(ring: KeyRing) -> bytes:
    """The secret of file links, the same in every process that has the same keys."""
    return hashlib.sha256(b"agentos file links\0" + ring.stored().encode()).digest()
