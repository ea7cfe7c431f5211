"""Versions: kept for every process, held here while there is room, and never another tenant's."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from dataloaders.snapshot import versions as module
from dataloaders.snapshot.encodings import Encoder
from dataloaders.snapshot.versions import Versions
from db import keys
from db.redis import Redis, connect
from db.snapshots import Slot
from tests.dataloaders.snapshot.test_patches import copy_of

SLOT = Slot("default")


@pytest_asyncio.fixture
async def encoder() -> AsyncIterator[Encoder]:
    encoder = Encoder()
    yield encoder
    await encoder.close()


def process(redis: Redis, encoder: Encoder) -> Versions:
    return Versions(redis, encoder, away=lambda: False)


def content(version: str) -> dict[str, object]:
    """JSON with the envelope by which a stored snapshot is known."""
    return {"envelope": copy_of(version, None).envelope, "jobs": version}


async def test_another_process_knows_what_was_kept(redis: Redis, encoder: Encoder) -> None:
    teller, other = process(redis, encoder), process(redis, encoder)
    kept = copy_of("v1", content("v1"), encoder)
    await teller.keep(SLOT, kept, ["logs"])

    found = await other.of(SLOT, "v1")

    assert found is not None
    assert ("v1", kept.bodies.encoded) == (found.envelope.version, found.bodies.encoded)
    assert found is await other.of(SLOT, "v1")
    assert kept is await teller.of(SLOT, "v1")


async def test_nobody_knows_what_was_not_kept_or_is_not_theirs(redis: Redis, encoder: Encoder) -> None:
    here, there = process(redis, encoder), process(redis, encoder)
    await here.keep(SLOT, copy_of("v1", content("v1"), encoder), ["logs"])

    for known in (here, there):
        for slot, version in ((SLOT, "v2"), (Slot("other"), "v1"), (Slot("default", "7d"), "v1")):
            assert await known.of(slot, version) is None


async def test_with_redis_away_what_is_held_here_is_known_and_nothing_else(redis: Redis, encoder: Encoder) -> None:
    away = False
    here = Versions(redis, encoder, away=lambda: away)
    await here.keep(SLOT, copy_of("v1", content("v1"), encoder), ["logs"])
    await process(redis, encoder).keep(SLOT, copy_of("v2", content("v2"), encoder), ["logs"])
    away = True

    assert await here.of(SLOT, "v1") is not None
    assert await here.of(SLOT, "v2") is None
    assert () == (await here.announced(SLOT)).kept


async def test_a_redis_that_cannot_be_reached_knows_none(encoder: Encoder) -> None:
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        here = process(nowhere, encoder)

        assert await here.of(SLOT, "v1") is None
        assert () == (await here.announced(SLOT)).kept


async def test_what_is_kept_in_another_shape_is_not_known(redis: Redis, encoder: Encoder) -> None:
    """Kept by a release whose snapshots this one cannot read."""
    await process(redis, encoder).keep(SLOT, copy_of("v1", {"of": "tomorrow"}, encoder), ["logs"])

    assert await process(redis, encoder).of(SLOT, "v1") is None


async def test_those_that_were_not_asked_for_lately_make_room(
    redis: Redis, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = process(redis, encoder)
    copies = [copy_of(f"v{number}", content(f"v{number}"), encoder) for number in range(3)]
    monkeypatch.setattr(module, "HELD_BYTES", 2 * len(copies[0].bodies.encoded))
    for copy in copies[:2]:
        await here.keep(SLOT, copy, ["logs"])
    await here.of(SLOT, "v0")
    await here.keep(SLOT, copies[2], ["logs"])
    await redis.delete(*keys.snapshot_versions(SLOT.about))

    assert copies[0] is await here.of(SLOT, "v0")
    assert await here.of(SLOT, "v1") is None
    assert copies[2] is await here.of(SLOT, "v2")
