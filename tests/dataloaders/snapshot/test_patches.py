"""Patches: applied by somebody else's hand they give the newer version to the letter, and each is made once."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpath import JSONPatch

from dataloaders.snapshot import Snapshots, patches
from dataloaders.snapshot.encodings import Encoder
from dataloaders.snapshot.patches import Patches
from dataloaders.snapshot.versions import Copy
from db.database import Database
from db.snapshots import FRESH, SCHEMA, TTL, Envelope, Slot
from tests.dataloaders.snapshot.conftest import Clock, Lived, add_jobs

SLOT = Slot("default")
KEYS = st.sampled_from(["jobs", "queue", "a/b", "~0", "", "0", "-"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.0, 1.0, 1.5, "", "é", "waiting"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def copy_of(version: str, content: Any, encoder: Encoder | None = None) -> Copy:
    """A version whose JSON is any."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    envelope = Envelope(schema=SCHEMA, version=version, generated_at=now, fresh_until=now + FRESH, expires_at=now + TTL)
    return Copy(envelope, (encoder or Encoder()).bodies(msgspec.json.encode(content)))


def applied(older: bytes, operations: Any) -> Any:
    """What somebody else's implementation makes of it, as the client would who has it from the wire."""
    wire = json.loads(json.dumps(operations))
    return JSONPatch(wire).apply(json.loads(older))


def letters(content: Any) -> str:
    """To the letter, but for the order of keys, which JSON has none of; 1, 1.0 and true differ."""
    return json.dumps(content, sort_keys=True)


@pytest_asyncio.fixture
async def made() -> AsyncIterator[Patches]:
    made = Patches()
    yield made
    await made.close()


@settings(max_examples=300)
@given(older=JSON, newer=JSON)
def test_a_patch_makes_the_newer_of_the_older_whatever_they_are(older: Any, newer: Any) -> None:
    before, after = msgspec.json.encode(older), msgspec.json.encode(newer) + b" " * 10_000
    patch = patches.compared(before, after)

    assert letters(newer) == letters(applied(before, patch.operations))


@settings(max_examples=50)
@given(older=JSON, newer=JSON, other=JSON)
def test_a_patch_of_another_pair_would_be_seen(older: Any, newer: Any, other: Any) -> None:
    """The control: what is compared above does differ when it is not the patch of these two."""
    wrong = patches.compared(msgspec.json.encode([older]), msgspec.json.encode([newer, other]) + b" " * 10_000)
    seen = letters(applied(msgspec.json.encode([older]), wrong.operations))

    assert letters([newer]) != seen


async def test_what_a_tenant_lived_through_is_told_by_patches(
    made: Patches, snapshots: Snapshots, database: Database, tenant: str, lived: Lived, clock: Clock
) -> None:
    """Real snapshots, one after another; the patch is a fraction of the whole."""
    sizes = []
    for more in (1, 3, 0):
        older = await snapshots.announcements.of(SLOT, None)
        await add_jobs(database, tenant, more)
        clock.advance(5)
        await snapshots.rebuild(tenant)
        newer = await snapshots.announcements.of(SLOT, None)
        operations = await made.between(SLOT, older, newer)

        assert letters(json.loads(newer.bodies.encoded)) == letters(applied(older.bodies.encoded, operations))
        sizes.append(len(msgspec.json.encode(operations)) / len(newer.bodies.encoded))
    assert all(size < 0.5 for size in sizes), sizes


async def test_all_who_ask_get_one_that_was_made_once_away_from_the_loop(
    made: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    compare = patches.compared

    def watched(older: bytes, newer: bytes) -> Any:
        threads.append(threading.current_thread())
        return compare(older, newer)

    monkeypatch.setattr(patches, "compared", watched)
    older, newer = copy_of("v1", {"jobs": 1, "name": "x" * 99}), copy_of("v2", {"jobs": 2, "name": "x" * 99})

    found = await asyncio.gather(*(made.between(SLOT, older, newer) for _ in range(50)))
    later = await made.between(SLOT, older, newer)

    assert [{"op": "replace", "path": "/jobs", "value": 2}] == later
    assert {id(later)} == {id(each) for each in found}
    assert (1, 1) == (len(threads), made.made)
    assert threading.main_thread() not in threads


async def test_versions_of_one_name_are_not_taken_for_each_other_between_tenants(made: Patches) -> None:
    padding = "x" * 99
    for tenant, value in (("default", 1), ("other", 2)):
        older, newer = copy_of("v1", {"pad": padding}), copy_of("v2", {"pad": padding, "jobs": value})

        assert [{"op": "add", "path": "/jobs", "value": value}] == await made.between(Slot(tenant), older, newer)


async def test_one_that_would_be_larger_than_the_whole_is_none(made: Patches) -> None:
    older, newer = copy_of("v1", {str(key): key for key in range(99)}), copy_of("v2", {"jobs": 1})

    assert await made.between(SLOT, older, newer) is None
    assert await made.between(SLOT, older, newer) is None
    assert 1 == made.made


async def test_the_oldest_patches_make_room(made: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "HELD_BYTES", 3 * patches.ENTRY_BYTES)
    versions = [copy_of(f"v{number}", {"pad": "x" * 99, "jobs": number}) for number in range(5)]
    for newer in versions[1:]:
        await made.between(SLOT, versions[0], newer)
    await made.between(SLOT, versions[0], versions[4])
    kept = made.made
    await made.between(SLOT, versions[0], versions[1])

    assert (4, 5) == (kept, made.made)
