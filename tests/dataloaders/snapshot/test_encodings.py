"""Bodies: made once for everybody, away from the event loop, and gone with the version they were made of."""

import asyncio
import gc
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from dataloaders.snapshot.encodings import PACKED, Bodies, Body, Coding, Encoder, Write
from tests.dataloaders.snapshot.conftest import Make
from tests.waiting import until

CONTENT = b'{"envelope":{},"jobs":[' + b",".join(b"%d" % number for number in range(2_000)) + b"]}"


class Slow:
    """Packs as zstd does once it is let, and counts how often and in which threads it was asked to."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self, content: bytes) -> bytes:
        self.threads.append(threading.current_thread())
        assert self.let.wait(60)
        return PACKED[Coding.ZSTD](content)


class Forgetful(Bodies):
    """The weakened twin: it makes each body for whoever asks, unless it is there already."""

    async def of(self, write: Write, coding: Coding) -> Body:
        made = self.made(write, coding)
        return made or await self._pack(write, coding, write(self.encoded))


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest_asyncio.fixture
async def encoder(slow: Slow) -> AsyncIterator[Encoder]:
    encoder = Encoder({**PACKED, Coding.ZSTD: slow})
    yield encoder
    slow.let.set()
    await encoder.close()


def as_it_is(encoded: bytes) -> bytes:
    return encoded


def doubled(encoded: bytes) -> bytes:
    return encoded * 2


async def test_all_who_ask_at_once_wait_for_the_same(encoder: Encoder, slow: Slow) -> None:
    bodies = encoder.bodies(CONTENT)
    asking = [asyncio.create_task(bodies.of(as_it_is, Coding.ZSTD)) for _ in range(20)]
    await until(lambda: bool(slow.threads))
    slow.let.set()

    found = await asyncio.gather(*asking)

    assert 1 == len(slow.threads) == len({id(body) for body in found})
    assert threading.main_thread() not in slow.threads


async def test_without_waiting_for_each_other_everybody_would_pack(slow: Slow) -> None:
    """The control: the twin packs as often as it is asked while nothing is there."""
    encoder = Encoder({Coding.ZSTD: slow})
    bodies = Forgetful(CONTENT, encoder._packed, encoder._flights)
    asking = [asyncio.create_task(bodies.of(as_it_is, Coding.ZSTD)) for _ in range(3)]
    await until(lambda: len(slow.threads) > 1)
    slow.let.set()

    await asyncio.gather(*asking)

    assert 3 == len(slow.threads)


async def test_who_gives_up_leaves_it_to_the_others(encoder: Encoder, slow: Slow) -> None:
    bodies = encoder.bodies(CONTENT)
    first, second = (asyncio.create_task(bodies.of(as_it_is, Coding.ZSTD)) for _ in range(2))
    await until(lambda: bool(slow.threads))
    first.cancel()
    slow.let.set()

    body = await second

    assert (1, True) == (len(slow.threads), first.cancelled())
    assert body is await bodies.of(as_it_is, Coding.ZSTD)


async def test_each_body_is_written_once_for_all_of_its_codings(encoder: Encoder, slow: Slow) -> None:
    slow.let.set()
    asked: Counter[str] = Counter()

    def counted(encoded: bytes) -> bytes:
        asked["written"] += 1
        return encoded

    bodies = encoder.bodies(CONTENT)
    made = [await bodies.of(counted, coding) for coding in Coding for _ in range(3)]

    assert {"written": 1} == asked
    assert [coding for coding in Coding for _ in range(3)] == [body.coding for body in made]
    assert CONTENT == made[-1].content


async def test_equal_bytes_have_equal_tags_in_whichever_process(encoder: Encoder) -> None:
    other = Encoder()
    here, there = encoder.bodies(CONTENT), other.bodies(CONTENT)

    tags = [(await bodies.of(as_it_is, Coding.GZIP)).tag for bodies in (here, there)]

    assert tags[0] == tags[1] != (await here.of(doubled, Coding.GZIP)).tag
    assert tags[0] != (await here.of(as_it_is, Coding.IDENTITY)).tag


async def test_what_cannot_be_written_is_told_and_tried_again(encoder: Encoder) -> None:
    bodies = encoder.bodies(CONTENT)

    def failing(_: bytes) -> bytes:
        raise LookupError("there is no such section")

    for coding in (Coding.GZIP, Coding.IDENTITY):
        with pytest.raises(LookupError):
            await bodies.of(failing, coding)
    assert bodies.made(failing, Coding.IDENTITY) is None


async def test_the_bodies_of_an_old_version_go_with_it(make_snapshots: Make, tenant: str) -> None:
    snapshots = make_snapshots()
    old = (await snapshots.found(tenant)).bodies
    for coding in Coding:
        await old.of(as_it_is, coding)
    forgotten = weakref.ref(old)
    del old
    assert forgotten() is not None

    await snapshots.rebuild(tenant)

    def gone() -> bool:
        gc.collect()
        return forgotten() is None

    # The thread that packed last holds what it was given until it has its next turn.
    await until(gone)
