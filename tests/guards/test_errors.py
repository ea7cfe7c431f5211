"""Refusals: one family, each with a code of its own that never changes."""

import pytest

from guards import errors
from guards.errors import Conflict, RateLimited, Refusal

KINDS = [kind for kind in errors.family() if kind.__module__ == errors.__name__ and kind is not Refusal]


def test_every_refusal_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in KINDS]

    assert len(codes) == len(set(codes))
    assert Refusal.code not in codes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_code_is_one_word_in_capitals_and_the_reader_is_told_what_it_means(kind: type[Refusal]) -> None:
    assert kind.code.replace("_", "").isalpha()
    assert kind.code == kind.code.upper()
    assert (kind.__doc__ or "").strip()


def test_the_codes_that_clients_know_stay() -> None:
    """A code is part of the contract: a client that handles CONFLICT must not meet another word after an upgrade."""
    assert {
        "UNAUTHENTICATED",
        "FORBIDDEN",
        "NOT_FOUND",
        "VALIDATION_ERROR",
        "CONFLICT",
        "TOO_LARGE",
        "QUOTA_EXCEEDED",
        "CHECKSUM_MISMATCH",
        "UNSUPPORTED_MEDIA",
        "RATE_LIMITED",
        "UNAVAILABLE",
        "NOT_CONTROLLABLE",
    } <= {kind.code for kind in KINDS}


def test_a_refusal_says_its_message_and_when_to_come_back() -> None:
    refusal = RateLimited("too often", retry_after=7)

    assert ("too often", 7) == (str(refusal), refusal.retry_after)
    assert Conflict("job 7 has already finished").retry_after is None


def test_the_family_has_the_children_of_children() -> None:
    assert {Refusal, *KINDS} <= set(errors.family())
    assert [Conflict] == errors.family(Conflict)[:1]
