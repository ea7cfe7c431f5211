"""Seals: signatures that hold for just what was signed, identities that go with their key."""

import msgspec
import pytest

from guards.seals import Identity, Seals, Signature
from guards.tokens import KeyRing, new_key
from tests.trails import seals

HOME = Identity("192.0.2.7", "curl/8")


def test_a_signature_holds_for_what_was_signed_and_for_nothing_else() -> None:
    keys = seals()
    signature = keys.signed(b"so it was")

    assert keys.vouched(b"so it was", signature)
    assert not keys.vouched(b"so it was not", signature)
    assert not keys.vouched(b"so it was", Signature(signature.key_id, signature.value[::-1]))
    assert not keys.vouched(b"so it was", Signature("another", signature.value))
    assert not seals().vouched(b"so it was", signature)


def test_what_an_older_key_of_the_ring_has_signed_still_holds() -> None:
    ring = KeyRing([new_key(), new_key()])
    signature = Seals(ring).signed(b"long ago")

    assert Seals(ring.rotated()).vouched(b"long ago", signature)


def test_an_identity_is_read_with_its_key_alone() -> None:
    keys = seals()
    sealed = keys.sealed("default", HOME)

    assert HOME == keys.opened("default", sealed)
    assert keys.opened("other", sealed) is None
    assert seals().opened("default", sealed) is None
    assert HOME.address.encode() not in b"".join((sealed.commitment, sealed.wrapped, sealed.sealed))


@pytest.mark.parametrize("field", ["commitment", "wrapped", "sealed"])
def test_no_part_of_an_identity_can_be_exchanged(field: str) -> None:
    keys = seals()
    sealed, another = keys.sealed("default", HOME), keys.sealed("default", Identity("192.0.2.8", "curl/8"))

    assert keys.opened("default", msgspec.structs.replace(sealed, **{field: getattr(another, field)})) is None


def test_one_identity_is_committed_to_differently_each_time() -> None:
    """Else whoever knows an address could look for its commitment when the key is long gone."""
    keys = seals()

    assert keys.sealed("default", HOME).commitment != keys.sealed("default", HOME).commitment


def test_one_identity_is_found_again_by_who_has_the_keys() -> None:
    keys = seals()

    assert keys.handle("default", None, HOME) == keys.handle("default", None, HOME)
    assert keys.handle("default", None, HOME) != keys.handle("other", None, HOME)
    assert keys.handle("default", None, HOME) != seals().handle("default", None, HOME)
    assert [keys.place("default", "192.0.2.7")] == keys.places("default", "192.0.2.7")
