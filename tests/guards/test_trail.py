"""Whether the trail is still what it was: whatever somebody does to it who rules the database, it shows."""

from pathlib import Path
from typing import Any

import pytest

from db import audit
from db.database import Database
from guards.anchors import Anchors, read
from guards.seals import Seals
from guards.trail import Damage, Verdict, digest, verify
from tests.trails import anchors_in, recorded, ruling, seals


@pytest.fixture
def keys() -> Seals:
    """The keys of the trail."""
    return seals()


@pytest.fixture
def anchors(database: Database, keys: Seals, tmp_path: Path) -> Anchors:
    """Where the trail is anchored."""
    return anchors_in(database, tmp_path, keys)


async def verdict(database: Database, keys: Seals, anchors: Anchors | None) -> tuple[int, Damage | None, int | None]:
    """How many entries are sound, what is wrong, and with which number first; without anchors, by the chain alone."""
    found: Verdict = await verify(database, keys, "default", [] if anchors is None else read(anchors.file))
    if found.finding is None:
        return found.entries, None, None
    return found.entries, found.finding.damage, found.finding.seq


async def rechained(connection: Any, database: Database, first: int) -> None:
    """Take every hash anew from an entry on, as somebody would who knows how it is done."""
    async with database.system() as tx:
        links = await audit.links(tx, "default", after=first - 2, most=100)
    previous = bytes(32) if first == 1 else links.pop(0).hash
    for link in links:
        values = {name: getattr(link, name) for name in link.__struct_fields__} | {"previous": previous}
        previous = digest(audit.Link(**values))
        await connection.execute(
            "UPDATE audit SET previous = $1, hash = $2 WHERE tenant_id = 'default' AND seq = $3",
            values["previous"],
            previous,
            link.seq,
        )
    await connection.execute(
        "UPDATE audit_trail.heads SET seq = $1, hash = $2 WHERE tenant_id = 'default'", links[-1].seq, previous
    )


async def edit(connection: Any, _: Database) -> None:
    await connection.execute("UPDATE audit SET actor_id = NULL WHERE tenant_id = 'default' AND seq = 4")


async def delete_middle(connection: Any, _: Database) -> None:
    await connection.execute("DELETE FROM audit WHERE tenant_id = 'default' AND seq BETWEEN 4 AND 5")


async def swap(connection: Any, _: Database) -> None:
    await connection.execute(
        "UPDATE audit SET seq = CASE seq WHEN 4 THEN 7 ELSE 4 END WHERE tenant_id = 'default' AND seq IN (4, 7)"
    )


async def insert(connection: Any, _: Database) -> None:
    await connection.execute(
        "INSERT INTO audit SELECT tenant_id, seq, at + interval '1 microsecond', actor_id, role, action, target, "
        "outcome, code, trace_id, key_hash, details, result, commitment, previous, hash "
        "FROM audit WHERE tenant_id = 'default' AND seq = 4"
    )


async def append(connection: Any, database: Database) -> None:
    async with database.system() as tx:
        [last] = await audit.links(tx, "default", after=7, most=1)
    values = {name: getattr(last, name) for name in last.__struct_fields__}
    values |= {"seq": 9, "previous": last.hash}
    values["hash"] = digest(audit.Link(**values))
    names = ", ".join(values)
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await connection.execute(f"INSERT INTO audit ({names}) VALUES ({places})", *values.values())


async def drop_partition(connection: Any, _: Database) -> None:
    [(part,)] = await connection.fetch("SELECT DISTINCT tableoid::regclass::text FROM audit")
    await connection.execute(f"DROP TABLE {part}")


async def delete_tail(connection: Any, database: Database) -> None:
    await connection.execute("DELETE FROM audit WHERE tenant_id = 'default' AND seq > 6")
    async with database.system() as tx:
        [last] = await audit.links(tx, "default", after=5, most=1)
    await connection.execute("UPDATE audit_trail.heads SET seq = 6, hash = $1", last.hash)
    await connection.execute("DELETE FROM audit_trail.anchors")


async def rehash_suffix(connection: Any, database: Database) -> None:
    await edit(connection, database)
    await rechained(connection, database, 4)
    await connection.execute("DELETE FROM audit_trail.anchors")


async def delete_all(connection: Any, _: Database) -> None:
    for table in ("audit", "audit_trail.heads", "audit_trail.anchors"):
        await connection.execute(f"DELETE FROM {table}")


async def exchange(connection: Any, _: Database) -> None:
    await connection.execute("UPDATE pii_subjects SET sealed = decode('00', 'hex') || sealed")


@pytest.mark.parametrize(
    ("tamper", "damage", "seq"),
    [
        (edit, Damage.EDITED, 4),
        (delete_middle, Damage.MISSING, 4),
        (swap, Damage.EDITED, 4),
        (insert, Damage.REPEATED, 4),
        (append, Damage.ADDED, 9),
        (exchange, Damage.EXCHANGED, 1),
        (drop_partition, Damage.CUT_OFF, 1),
        (delete_tail, Damage.CUT_OFF, 7),
        (delete_all, Damage.CUT_OFF, 1),
        (rehash_suffix, Damage.REWRITTEN, 8),
    ],
)
async def test_what_is_done_to_the_trail_shows_and_where(
    database: Database, database_url: str, keys: Seals, anchors: Anchors, tamper: Any, damage: Damage, seq: int
) -> None:
    await recorded(database, keys, 8)
    assert 1 == await anchors.settle()
    assert (8, None, None) == await verdict(database, keys, anchors)
    async with ruling(database_url) as connection:
        await tamper(connection, database)

    assert (damage, seq) == (await verdict(database, keys, anchors))[1:]


@pytest.mark.parametrize(("tamper", "left"), [(delete_tail, 6), (rehash_suffix, 8), (delete_all, 0)])
async def test_control_without_anchors_outside_of_the_database_nobody_would_notice(
    database: Database, database_url: str, keys: Seals, anchors: Anchors, tamper: Any, left: int
) -> None:
    await recorded(database, keys, 8)
    await anchors.settle()
    async with ruling(database_url) as connection:
        await tamper(connection, database)

    assert (left, None, None) == await verdict(database, keys, None)


async def test_a_suffix_that_was_chained_anew_shows_at_its_first_anchor(
    database: Database, database_url: str, keys: Seals, anchors: Anchors
) -> None:
    await recorded(database, keys, 3)
    await anchors.settle()
    async with ruling(database_url) as connection:
        await connection.execute("UPDATE audit_trail.anchors SET at = at - interval '61 seconds'")
    anchors.file.unlink()
    await recorded(database, keys, 3)
    await anchors.settle()
    await recorded(database, keys, 2)
    async with ruling(database_url) as connection:
        await rehash_suffix(connection, database)

    found = await verify(database, keys, "default", read(anchors.file))

    assert found.finding is not None
    assert (6, Damage.REWRITTEN) == (found.finding.seq, found.finding.damage)


async def test_an_anchor_that_nobody_signed_is_told(
    database: Database, database_url: str, keys: Seals, anchors: Anchors
) -> None:
    await recorded(database, keys, 2)
    await anchors.settle()
    anchors.file.write_text(anchors.file.read_text().replace('"seq":2', '"seq":1'))

    assert (0, Damage.UNSIGNED, 1) == await verdict(database, keys, anchors)


async def test_anchors_of_other_keys_are_nobody_s(database: Database, keys: Seals, anchors: Anchors) -> None:
    await recorded(database, keys, 2)
    await anchors.settle()

    assert (0, Damage.UNSIGNED, 2) == await verdict(database, seals(), anchors)


async def test_a_tenant_without_entries_is_sound(database: Database, keys: Seals, anchors: Anchors) -> None:
    assert (0, None, None) == await verdict(database, keys, anchors)


async def test_entries_that_come_while_it_is_read_do_no_harm(
    database: Database, keys: Seals, anchors: Anchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is read first: what follows it is simply part of the line."""
    await recorded(database, keys, 3)
    links = audit.links

    async def and_one_more(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(audit, "links", links)
        await recorded(database, keys, 2)
        return await links(*args, **kwargs)

    monkeypatch.setattr(audit, "links", and_one_more)

    assert (5, None, None) == await verdict(database, keys, anchors)


async def test_the_hash_says_the_same_in_python_and_in_the_database(database: Database, keys: Seals) -> None:
    """Whatever is in an entry: names of keys, numbers as JSON has them, letters of every script, nothing at all."""
    hard = {
        "ö": 'π\n"\\ 😀',
        "n": 1.50,
        "big": 12345678901234567890,
        "tiny": 1e-7,
        "list": [1, None, {"b": 1, "aa": 2}],
    }
    await recorded(database, keys, 1, details=hard, target="ü" * 40, address="", actor=None, role=None)
    await recorded(database, keys, 1, key="k" * 20)
    async with database.system() as tx:
        links = await audit.links(tx, "default", after=0, most=10)

    assert [link.hash for link in links] == [digest(link) for link in links]
    assert links[0].hash == links[1].previous
