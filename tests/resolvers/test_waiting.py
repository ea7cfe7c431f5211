"""What is waited for is looked at until it is as wanted, and never for longer than was said."""

from itertools import count

from resolvers import waiting


async def test_the_first_look_that_holds_is_the_answer() -> None:
    looks = count(1)

    async def look() -> int:
        return next(looks)

    assert 2 == await waiting.until(look, lambda seen: seen == 2, within_s=60)
    assert 3 == next(looks)


async def test_after_its_time_the_last_look_is_the_answer() -> None:
    """Also when no time at all is left: who asks is told how it stands."""
    looks = count(1)

    async def look() -> int:
        return next(looks)

    assert 1 == await waiting.until(look, lambda seen: False, within_s=0)
    assert 1 < await waiting.until(look, lambda seen: False, within_s=waiting.LOOK_EVERY_S / 2)
