"""What is too old goes, what is still needed stays."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
import sqlalchemy as sa

from db import jobs, lockouts, operations, rates, replays, retention
from db.database import Database
from db.events import after, floor
from db.files import Files
from db.jobs import NewJob
from db.levels import Algorithm, Counter
from db.models.guards import replays as replay_rows
from db.models.records import events
from db.replays import NewReplay
from tests.waiting import eventually


async def test_old_events_go_and_young_ones_stay(database: Database) -> None:
    async with database.system() as tx:
        await tx.execute(
            sa.insert(events),
            [{"tenant_id": "default", "kind": "job_changed", "entity_id": n, "payload": {}} for n in ("old", "young")],
        )
        await tx.execute(sa.text("UPDATE events SET created_at = now() - interval '3 days' WHERE entity_id = 'old'"))

    dropped = await retention.drop_old_rows(database)

    async with database.transaction("default") as tx:
        left = [event.entity_id for event in await after(tx, await floor(tx))]
    assert 1 == dropped["events"]
    assert ["young"] == left


@pytest.mark.parametrize(("most_batches", "gone"), [(2, 4), (9, 7)])
async def test_a_round_removes_several_batches_and_no_more_than_it_may(
    database: Database, monkeypatch: pytest.MonkeyPatch, most_batches: int, gone: int
) -> None:
    """At one batch a round, a busy house would write events faster than they go."""
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "MOST_BATCHES", most_batches)
    async with database.system() as tx:
        old = {"tenant_id": "default", "kind": "job_changed", "payload": {}}
        await tx.execute(sa.insert(events), [{**old, "entity_id": str(number)} for number in range(7)])
        await tx.execute(sa.text("UPDATE events SET created_at = now() - interval '3 days'"))

    assert gone == (await retention.drop_old_rows(database))["events"]


@pytest.mark.parametrize(("days", "left"), [(89, 1), (91, 0)])
async def test_what_came_of_operations_can_be_read_for_a_quarter(database: Database, days: int, left: int) -> None:
    async with database.transaction("default") as tx:
        made = await operations.add(tx, "system.backup", actor=None, trace_id=None)
        await operations.finish(tx, made.id, {})
        await tx.execute(sa.text("UPDATE operations SET created_at = now() - make_interval(days => :d)"), {"d": days})

    dropped = await retention.drop_old_rows(database)

    async with database.transaction("default") as tx:
        kept = await operations.by_id(tx, made.id)
    assert (1 - left, bool(left)) == (dropped["operations"], kept is not None)


NEW = NewReplay(principal=UUID(int=1), key="a-key-of-sixteen", action="job.cancel", fingerprint=b"1" * 32, answer=b"1")


async def answers(database: Database) -> list[bytes]:
    """What is kept under keys, whatever its age."""
    async with database.system() as tx:
        return [answer for (answer,) in await tx.rows(sa.select(replay_rows.c.answer))]


@pytest.mark.parametrize(("hours", "left"), [(23, [b"1"]), (25, [])])
async def test_answers_under_keys_stay_for_a_day(database: Database, hours: int, left: list[bytes]) -> None:
    async with database.transaction("default") as tx:
        await replays.put(tx, NEW)
        await tx.execute(sa.text("UPDATE replays SET created_at = now() - make_interval(hours => :h)"), {"h": hours})

    dropped = await retention.drop_old_rows(database)

    assert (1 - len(left), left) == (dropped["replays"], await answers(database))


async def test_an_answer_that_takes_the_place_of_an_old_one_stays(roomy: Database) -> None:
    """The old row is found before the new answer is committed, and locked by it: it must be looked at once more."""
    async with roomy.transaction("default") as tx:
        await replays.put(tx, NEW)
        await tx.execute(sa.text("UPDATE replays SET created_at = now() - interval '25 hours'"))

    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")

    async def waiting() -> int:
        async with roomy.system() as tx:
            return int(await tx.scalar(waits))

    async with asyncio.TaskGroup() as group, roomy.transaction("default") as tx:
        await replays.put(tx, msgspec.structs.replace(NEW, answer=b"2"))
        dropping = group.create_task(retention.drop_old_rows(roomy))
        await eventually(waiting, bool)

    assert (0, [b"2"]) == (dropping.result()["replays"], await answers(roomy))


async def test_counters_that_nobody_counts_on_go_and_the_others_stay(database: Database) -> None:
    async with database.transaction("default") as tx:
        for key in ("old", "young"):
            await rates.charge_critical(tx, [Counter(key, Algorithm.SLIDING_WINDOW, 5, 60_000_000, 1)])
        await tx.execute(sa.text("UPDATE calls SET changed_at = now() - interval '2 days' WHERE key = 'old'"))
    async with database.system() as tx:
        await lockouts.held(tx, [b"1" * 32, b"2" * 32])
        await tx.execute(sa.text("UPDATE lockouts SET changed_at = now() - interval '3 days' WHERE subject < '2'"))

    dropped = await retention.drop_old_counts(database)

    async with database.system() as tx:
        left = await tx.rows(sa.text("SELECT key FROM calls")), await tx.rows(sa.text("SELECT subject FROM lockouts"))
    assert {"calls": 1, "lockouts": 1} == dropped
    assert ([("young",)], [(b"2" * 32,)]) == left


async def test_work_folders_stay_while_a_retry_may_need_them(database: Database, tmp_path: Path) -> None:
    files = Files(tmp_path)
    folders: dict[str, Path] = {}
    async with database.transaction("default") as tx:
        for name in ("queued", "failed", "long_ago"):
            job = await jobs.add(
                tx, NewJob(user_id=None, source_url="https://example.org", chain=("clipper",), title=name)
            )
            folders[name] = files.work("default", job.id)
        await tx.execute(
            sa.text("UPDATE jobs SET status = 'failed', completed_at = now() WHERE title IN ('failed', 'long_ago')")
        )
        await tx.execute(sa.text("UPDATE jobs SET completed_at = now() - interval '2 days' WHERE title = 'long_ago'"))

    folders["gone"] = files.work("default", uuid4())

    dropped = await retention.drop_old_work(database, files)

    assert 2 == dropped
    left = {"queued": True, "failed": True, "long_ago": False, "gone": False}
    assert left == {name: at.exists() for name, at in folders.items()}
