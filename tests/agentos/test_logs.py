"""Logs: one line of JSON for everything, without secrets, and warnings kept in the table."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from agentos import logs
from agentos.logs import MOST_WAITING, Journal
from agentos.tracing import trace_id
from db import configuration
from db.database import Database
from db.logs import newest
from db.models.records import Severity
from tests.waiting import eventually, until


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """Other tests log as they did before."""
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in logs._QUIET}
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_ours_and_those_of_libraries_look_alike(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    token = trace_id.set("trace-7")
    try:
        structlog.get_logger("ours").info("done", job="7")
        logging.getLogger("theirs").warning("so many: %d", 3)
        logging.getLogger("theirs").debug("nobody asked")
    finally:
        trace_id.reset(token)

    ours, theirs = lines(capsys)
    assert ("done", "info", "ours", "trace-7", "7") == tuple(
        ours[name] for name in ("event", "level", "logger", "trace_id", "job")
    )
    assert ("so many: 3", "warning", "theirs", "trace-7") == tuple(
        theirs[name] for name in ("event", "level", "logger", "trace_id")
    )
    assert str(ours["timestamp"]).endswith("Z")


def test_secrets_are_blanked_by_the_name_of_their_field(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger("ours").info("in", token="hunter2", headers={"Authorization": "hunter2", "accept": "x"})
    logging.getLogger("theirs").warning("in", extra={"password": "hunter2"})

    shown = lines(capsys)
    assert "hunter2" not in json.dumps(shown)
    assert {"Authorization": "***", "accept": "x"} == shown[0]["headers"]


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("theirs").exception("failed")

    [line] = lines(capsys)
    assert "ValueError: broken" in str(line["exception"])


def record(level: int, message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("ours", level, "a.py", 1, message, (), None)
    made.__dict__.update(extra)
    return made


async def test_what_was_queued_is_in_the_table_afterwards(database: Database, tenant: str) -> None:
    journal = Journal(source="api")
    token = trace_id.set("trace-7")
    journal.handle(record(logging.WARNING, "nearly full\0"))
    trace_id.reset(token)
    await journal.write(database)
    await journal.write(database)

    async with database.transaction(tenant) as tx:
        [line] = await newest(tx, most=10)
    assert (Severity.WARNING, "api", "ours", "nearly full", "trace-7") == (
        line.level,
        line.source,
        line.category,
        line.message,
        line.trace_id,
    )


async def test_a_line_that_cannot_be_stored_as_it_is_holds_nobody_up(database: Database, tenant: str) -> None:
    journal = Journal(source="api")
    made = record(logging.WARNING, "")
    made.msg = {"event": "half a pair \ud800", "given": "\0\ud800", "\0name": 1}
    journal.handle(made)
    journal.handle(record(logging.WARNING, "behind it"))
    await journal.write(database)

    async with database.transaction(tenant) as tx:
        lines = await newest(tx, most=10)
    assert {"half a pair ?": {"given": "?", "name": "1"}, "behind it": {}} == {
        line.message: line.data for line in lines
    }


async def test_without_the_database_lines_wait_and_then_are_dropped_and_counted(
    database: Database, tenant: str
) -> None:
    away = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", size=1)
    journal = Journal(source="api")
    for number in range(MOST_WAITING + 5):
        journal.handle(record(logging.ERROR, str(number)))
    await journal.write(away)
    assert 5 == journal.dropped
    await journal.write(database)

    async with database.transaction(tenant) as tx:
        assert MOST_WAITING == len(await newest(tx, most=2 * MOST_WAITING))
    await away.close()


async def test_the_level_that_is_set_is_obeyed_while_running(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood before comes back when the setting is taken away."""
    monkeypatch.setattr(logs, "FOLLOW_EVERY_S", 0.02)
    logs.configure("info", "json")
    following = asyncio.create_task(logs.follow(database, "info", "json"))
    try:
        await set_level(database, "debug")
        await until(lambda: logging.getLogger().level == logging.DEBUG)
        await set_level(database, "error")
        await until(lambda: logging.getLogger().level == logging.ERROR)
        assert logging.ERROR == logging.getLogger("sqlalchemy").level
        await set_level(database, None)
        await until(lambda: logging.getLogger().level == logging.INFO)
        assert logging.WARNING == logging.getLogger("sqlalchemy").level
    finally:
        following.cancel()
        await asyncio.wait([following])


async def set_level(database: Database, level: str | None) -> None:
    async with database.transaction("default") as tx:
        await configuration.change(tx, {"log_level": level})


async def test_a_journal_that_is_flushed_writes_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "WRITE_EVERY_S", 60)
    journal = Journal(source="api")
    running = asyncio.create_task(journal.run(database))
    try:
        await asyncio.sleep(0)
        logging.getLogger("tests").warning("waiting")
        journal.flush()

        async def written() -> list[str]:
            async with database.transaction("default") as tx:
                return [line.message for line in await newest(tx, most=9)]

        assert ["waiting"] == await eventually(written, bool, within_s=logs.WRITE_EVERY_S / 2)
    finally:
        running.cancel()
        await asyncio.wait([running])
