"""Work that is done once for all who wait."""

import asyncio
import logging

import pytest

from dataloaders.snapshot.flights import Flights


async def test_all_who_ask_at_once_get_what_one_brings() -> None:
    flights, begun = Flights[int](), 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        return begun

    assert [1, 1, 1] == await asyncio.gather(*(flights.join("a", work) for _ in range(3)))
    assert 2 == await flights.join("a", work)


async def test_whoever_gives_up_does_not_end_it_for_the_others() -> None:
    flights, gate = Flights[str](), asyncio.Event()

    async def work() -> str:
        await gate.wait()
        return "landed"

    impatient = asyncio.create_task(flights.join("a", work))
    patient = asyncio.create_task(flights.join("a", work))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.set()

    assert "landed" == await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    flights = Flights[None]()

    async def work() -> None:
        raise LookupError("lost")

    with caplog.at_level(logging.WARNING):
        flights.start("a", work)
        await flights.land("a")
        await asyncio.sleep(0)

    assert "the flight a failed: lost" in caplog.text


async def test_closing_ends_what_is_under_way() -> None:
    flights = Flights[None]()
    flight = flights.start("a", asyncio.Event().wait)  # type: ignore[arg-type]  # what it brings does not matter here
    await asyncio.sleep(0)

    await flights.close()

    assert flight.cancelled()
