"""Passwords: stored so that they cannot be read, compared so that a miss costs what a hit costs."""

import argon2
import pytest

from guards import passwords
from guards.errors import BadInput
from guards.passwords import LONGEST, SHORTEST, generated, hashed, matches

SECRET = "correct horse battery staple"


async def test_the_right_password_matches_and_a_wrong_one_does_not() -> None:
    stored = await hashed(SECRET)

    assert await matches(SECRET, stored)
    assert not await matches(SECRET + " ", stored)
    assert not await matches("", stored)


async def test_what_is_stored_is_argon2id_with_a_salt_of_its_own() -> None:
    one, other = await hashed(SECRET), await hashed(SECRET)

    assert one != other
    assert SECRET not in one
    assert argon2.Type.ID is argon2.extract_parameters(one).type


async def test_nobody_is_compared_with_as_much_work_as_somebody() -> None:
    """Otherwise the time of an answer tells which addresses have an account.

    The work is fixed by the parameters in the hash, so these are compared and not times, which vary.
    """
    stored = await hashed(SECRET)

    assert argon2.extract_parameters(stored) == argon2.extract_parameters(passwords._NOBODY)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(passwords._NOBODY, SECRET)


async def test_nobody_has_no_password_at_all() -> None:
    for password in (SECRET, "", "x" * 1000):
        assert not await matches(password, None)


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$v=19$m=65536,t=3,p=4$damaged", "$2b$12$bcrypt"])
async def test_a_damaged_hash_matches_nothing(stored: str) -> None:
    assert not await matches(SECRET, stored)


@pytest.mark.parametrize("password", ["", "x" * (SHORTEST - 1), "x" * (LONGEST + 1), "half a pair \ud800"])
async def test_a_password_that_cannot_be_one_is_not_stored(password: str) -> None:
    with pytest.raises(BadInput, match="password:"):
        await hashed(password)


async def test_the_shortest_and_the_longest_can_be_used() -> None:
    for password in ("é" * SHORTEST, "é" * LONGEST):
        assert await matches(password, await hashed(password))


async def test_half_a_surrogate_pair_is_a_wrong_password_and_no_fault() -> None:
    assert not await matches("\ud800", await hashed(SECRET))


def test_generated_passwords_are_long_enough_to_be_taken_and_never_the_same() -> None:
    made = {generated() for _ in range(50)}

    assert 50 == len(made)
    assert all(SHORTEST <= len(password) <= LONGEST for password in made)
