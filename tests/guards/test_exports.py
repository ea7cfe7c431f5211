"""Exports: whole and unchanged, or it shows; and no address in them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from db.database import Database
from guards.exports import Broken, check, export
from guards.seals import Seals
from tests.trails import recorded, seals


@pytest.fixture
def keys() -> Seals:
    """The keys of the trail."""
    return seals()


async def exported(database: Database, keys: Seals, **times: datetime) -> list[bytes]:
    return [line async for line in export(database, keys, ["default", "other"], **times)]


async def test_an_export_says_what_it_is(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 3, details={"a": 1.50, "ö": "ü"})
    await recorded(database, keys, 1, tenant="other")

    lines = await exported(database, keys)
    manifest = check(keys, lines)

    assert 5 == len(lines)
    assert 4 == manifest.entries
    assert [("default", 1, 3), ("other", 1, 1)] == [(part.tenant, part.first, part.last) for part in manifest.parts]


async def test_an_export_of_nothing_is_one_too(database: Database, keys: Seals) -> None:
    assert 0 == check(keys, await exported(database, keys)).entries


async def test_an_export_has_what_lies_between_two_times(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 2)
    between = datetime.now(UTC)
    await recorded(database, keys, 3)

    assert [(3, 5)] == [(p.first, p.last) for p in check(keys, await exported(database, keys, since=between)).parts]
    assert [(1, 2)] == [(p.first, p.last) for p in check(keys, await exported(database, keys, until=between)).parts]
    later = between + timedelta(hours=1)
    assert [] == check(keys, await exported(database, keys, since=later)).parts


async def test_no_address_is_in_an_export(database: Database, keys: Seals) -> None:
    await recorded(database, keys, 1, address="192.0.2.99", user_agent="spying/1")

    text = b"".join(await exported(database, keys))

    assert b"192.0.2.99" not in text
    assert b"spying/1" not in text


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: lines[:-1], "no manifest"),
        (lambda lines: [], "no manifest"),
        (lambda lines: [*lines[:1], *lines[2:]], "does not follow"),
        (lambda lines: lines[1:], "not those that were signed"),
        (lambda lines: [lines[0].replace(b"job.cancel", b"job.delete"), *lines[1:]], "entry 1 was edited"),
        (lambda lines: [b"nonsense\n", *lines], "no entry"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"entries":3', b'"entries":2')], "none of our keys"),
    ],
)
async def test_what_is_done_to_an_export_shows(
    database: Database, keys: Seals, damage: Callable[[list[bytes]], list[bytes]], says: str
) -> None:
    await recorded(database, keys, 3)
    lines = await exported(database, keys)

    with pytest.raises(Broken, match=says):
        check(keys, damage(lines))


async def test_an_export_of_other_keys_is_nobody_s(database: Database, keys: Seals) -> None:
    with pytest.raises(Broken, match="none of our keys"):
        check(seals(), await exported(database, keys))
