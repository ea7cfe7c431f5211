"""How what stays open goes before its process does."""

import asyncio
import itertools
import time

import pytest

from agentos.transports import departures as module
from agentos.transports.departures import Departures
from guards.errors import Unavailable


class Guest:
    """Something that is open until it is asked to go; one that is deaf stays."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.asked_at: float | None = None
        self._deaf = deaf
        self._asked = asyncio.Event()

    def part(self) -> None:
        self.asked_at = time.monotonic()
        if not self._deaf:
            self._asked.set()

    async def stay(self, departures: Departures) -> None:
        with departures.staying(self.part):
            await self._asked.wait()


async def test_all_are_asked_one_after_the_other_and_waited_for() -> None:
    departures, guests = Departures(), [Guest() for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        staying = [group.create_task(guest.stay(departures)) for guest in guests]
        await asyncio.sleep(0)
        await departures.leave()
        gone = [each.done() for each in staying]

    times = sorted(guest.asked_at or 0.0 for guest in guests)
    assert [True] * 5 == gone
    assert all(after - before > 0.8 * module.APART_S for before, after in itertools.pairwise(times))


async def test_many_are_asked_faster() -> None:
    departures, guests = Departures(within_s=0.2), [Guest() for _ in range(100)]
    async with asyncio.TaskGroup() as group:
        for guest in guests:
            group.create_task(guest.stay(departures))
        await asyncio.sleep(0)
        began = time.monotonic()
        await departures.leave()

    assert time.monotonic() - began < len(guests) * module.APART_S


async def test_nobody_is_let_in_any_more() -> None:
    departures = Departures()
    departures.admit()
    await departures.leave()

    with pytest.raises(Unavailable) as refused:
        departures.admit()
    assert (True, 1) == (departures.leaving, refused.value.retry_after)


async def test_who_was_let_in_a_moment_before_is_asked_as_soon_as_they_are_there() -> None:
    departures, late = Departures(), Guest()
    await departures.leave()
    async with asyncio.timeout(10):
        await late.stay(departures)

    assert late.asked_at is not None


async def test_who_has_gone_by_themselves_is_not_asked() -> None:
    departures, gone = Departures(), Guest()
    with departures.staying(gone.part):
        pass
    await departures.leave()

    assert gone.asked_at is None


async def test_who_does_not_go_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORD_S", 0.05)
    departures, deaf = Departures(), Guest(deaf=True)
    with departures.staying(deaf.part):
        async with asyncio.timeout(10):
            await departures.leave()

    assert deaf.asked_at is not None
