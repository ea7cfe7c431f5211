"""What the actions of SystemLogs do to the log, and what they leave alone."""

import csv
import gzip
import io
import logging
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from db import audit, logs
from db.database import Database
from db.logs import NewLine
from db.models.identity import Role
from db.models.records import Severity
from db.models.records import logs as table
from db.redis import Redis
from guards.errors import BadInput, Forbidden, NotFound
from guards.links import PLACE
from resolvers import log_streams
from resolvers.context import Context
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of

FORMULA = '=HYPERLINK("http://evil.test","click")'


async def write(
    database: Database, *levels: Severity, source: str = "api", message: str = "it happened", tenant: str = "default"
) -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [NewLine(level=level, source=source, message=message) for level in levels])


async def how_many(database: Database, tenant: str = "default", **wanted: Any) -> int:
    async with database.transaction(tenant) as tx:
        return await logs.how_many(tx, logs.Filter(**wanted))


async def age(database: Database, **span: int) -> None:
    """Make every line there is so much older."""
    async with database.system() as tx:
        await tx.execute(sa.update(table).values(created_at=table.c.created_at - timedelta(**span)))


def fetched(context: Context, url: str) -> bytes:
    link = context.services.links.opened(url.partition(PLACE)[2])
    return context.services.files.resolve(link.path).read_bytes()


async def test_an_export_holds_the_lines_that_were_asked_for(admin: Context, database: Database) -> None:
    await write(database, Severity.ERROR, Severity.INFO)
    await write(database, Severity.ERROR, source="worker", message="two\nlines")
    await write(database, Severity.ERROR, tenant="other", message="foreign")

    done = await act(admin, "logs.export", level="error", format="json")

    lines = msgspec.json.decode(fetched(admin, done.download_url))
    assert 2 == done.records_count == len(lines)
    assert ["two\nlines", "it happened"] == [line["message"] for line in lines]
    assert done.filename.endswith(".json")


async def test_a_table_of_lines_runs_nothing(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, message=FORMULA)
    await write(database, Severity.INFO, source="@SUM(1)", message="plain, with a comma")

    done = await act(admin, "logs.export", format="csv")

    head, second, first = csv.reader(io.StringIO(fetched(admin, done.download_url).decode(), newline=""))
    assert ["id", "level", "source", "category", "message", "trace_id", "data", "created_at"] == head
    assert ("'@SUM(1)", "plain, with a comma") == (second[2], second[4])
    assert "'" + FORMULA == first[4]


async def test_no_message_looks_like_a_line_of_its_own(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, message="one\n2026-01-01T00:00:00 ERROR    api: not true \x1b[31m")

    done = await act(admin, "logs.export", format="txt")

    [line] = fetched(admin, done.download_url).decode().splitlines()
    assert "one\\n2026-01-01T00:00:00 ERROR    api: not true \\x1b[31m" in line


@pytest.mark.parametrize(("format", "content"), [("json", b"[]\n"), ("txt", b"")])
async def test_an_export_of_nothing_is_a_file_of_nothing(admin: Context, format: str, content: bytes) -> None:
    done = await act(admin, "logs.export", format=format)

    assert (0, content) == (done.records_count, fetched(admin, done.download_url))


async def test_a_large_export_is_complete_and_takes_no_more_memory(admin: Context, database: Database) -> None:
    """Ten thousand lines of two kilobytes are some 22 MB; what is held at once is five hundred of them."""
    async with database.system(timeout=timedelta(minutes=1)) as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO logs (id, tenant_id, level, source, message, created_at) "
                "SELECT gen_random_uuid(), 'default', 'info', 'api', repeat('x', 2000), now() - number % 977 * "
                "interval '1 second' FROM generate_series(1, 10000) AS number"
            )
        )
    tracemalloc.start()

    done = await act(admin, "logs.export", limit=100_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ids = {line["id"] for line in msgspec.json.decode(fetched(admin, done.download_url))}
    assert 10_000 == done.records_count == len(ids)
    assert peak < done.size / 2


async def test_an_export_stops_at_its_limit_with_the_newest(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, message="old")
    await write(database, Severity.INFO, message="new")

    done = await act(admin, "logs.export", limit=1)

    assert ["new"] == [line["message"] for line in msgspec.json.decode(fetched(admin, done.download_url))]


async def test_clearing_takes_what_is_named_and_old_enough(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, Severity.ERROR)
    await age(database, hours=5)
    await write(database, Severity.INFO, Severity.ERROR)
    await write(database, Severity.INFO, tenant="other")

    counted = await act(admin, "logs.clear", level="info", older_than_hours=4, dry_run=True)
    assert (0, 1, 3 + 1) == (counted.deleted, counted.matching, await how_many(database))

    done = await act(admin, "logs.clear", level="info", older_than_hours=4)

    assert (1, 1) == (done.deleted, done.matching)
    assert (1, 2) == (
        await how_many(database, levels=(Severity.INFO,)),
        await how_many(database, levels=(Severity.ERROR,)),
    )
    assert 1 == await how_many(database, "other")


async def test_clearing_needs_to_be_told_what(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO)

    with pytest.raises(BadInput, match="source or level is needed"):
        await act(admin, "logs.clear", older_than_hours=0)

    assert 1 == await how_many(database)


@pytest.mark.parametrize("given", [{}, {"confirm": "yes"}, {"confirm": "clear all logs"}])
async def test_clearing_all_must_be_confirmed(admin: Context, database: Database, given: dict[str, Any]) -> None:
    await write(database, Severity.INFO)

    with pytest.raises(BadInput, match="confirm"):
        await act(admin, "logs.clear_all", **given)

    assert 1 == await how_many(database)


async def test_what_is_cleared_is_kept_first_and_the_audit_trail_stays(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, Severity.CRITICAL)
    await write(database, Severity.INFO, tenant="other")
    await act(admin, "logs.restart_service")
    async with database.transaction("default") as tx:
        before = await audit.how_many(tx, audit.Filter())

    done = await act(admin, "logs.clear_all", confirm="CLEAR ALL LOGS")

    kept = gzip.decompress(fetched(admin, done.download_url)).splitlines()
    assert 2 == done.deleted == len(kept)
    assert {"info", "critical"} == {msgspec.json.decode(line)["level"] for line in kept}
    assert (0, 1) == (await how_many(database), await how_many(database, "other"))
    async with database.transaction("default") as tx:
        assert (1, 3) == (before, await audit.how_many(tx, audit.Filter()))


async def test_the_full_log_of_a_day_is_that_day_oldest_first(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, message="yesterday")
    await age(database, days=1)
    await write(database, Severity.INFO, message="today")

    whole = await act(admin, "logs.download_full")
    day = await act(admin, "logs.download_full", date=(datetime.now(UTC) - timedelta(days=1)).date().isoformat())

    def messages(url: str) -> list[str]:
        return [msgspec.json.decode(line)["message"] for line in gzip.decompress(fetched(admin, url)).splitlines()]

    assert (["yesterday", "today"], ["yesterday"]) == (messages(whole.download_url), messages(day.download_url))


async def test_a_refresh_reads_the_log_itself_and_counts_each_level(admin: Context, database: Database) -> None:
    await write(database, Severity.WARNING, message="50% done_")
    await write(database, Severity.ERROR, Severity.ERROR, message="something else")

    found = await act(admin, "logs.refresh", search="0% DONE_")
    nothing = await act(admin, "logs.refresh", search="' OR 1=1 --")

    assert ["50% done_"] == [line.message for line in found.logs]
    assert {"warning": 1, "error": 2} == {each.level: each.lines for each in found.counts_by_level if each.lines}
    assert [] == nothing.logs


async def test_counting_lines_ends_at_ten_thousand(
    admin: Context, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_COUNTED", 3)
    await write(database, *[Severity.ERROR] * 4, *[Severity.INFO] * 3)

    errors = await act(admin, "logs.filter_by_level", level="error", limit=2)
    infos = await act(admin, "logs.filter_by_level", level="info")

    assert (2, 3, True) == (len(errors.logs), errors.total, errors.more)
    assert (3, 3, False) == (len(infos.logs), infos.total, infos.more)


async def test_diagnostics_name_the_minute_in_which_errors_gather(admin: Context, database: Database) -> None:
    quiet = await act(admin, "logs.run_diagnostics")
    await write(database, *[Severity.ERROR] * 12)

    loud = await act(admin, "logs.run_diagnostics")

    assert [] == [each for each in quiet.findings if each.check == "log"]
    [burst] = [each for each in loud.findings if each.check == "log"]
    assert (Severity.ERROR, True) == (burst.severity, burst.finding.startswith("12 errors in the minute from "))
    assert {"database": True, "redis": True, "log": False} == {
        check.name: check.healthy for check in loud.checks if check.name in {"database", "redis", "log"}
    }


async def test_other_tenants_are_not_told_what_statements_run(
    admin: Context, other_people: People, database: Database
) -> None:
    foreign = context_of(admin.services, other_people[Role.ADMIN])

    [check] = [check for check in (await act(foreign, "logs.run_diagnostics")).checks if check.name == "statements"]

    assert (None, True) == (check.healthy, "whole installation" in check.detail)


async def test_files_of_the_log_are_put_aside_and_begun_anew(admin: Context, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "agentos.log")
    log = logging.getLogger("tests.rotating")
    log.addHandler(handler)
    try:
        log.warning("before")

        done = await act(admin, "logs.restart_service")
        log.warning("after")
    finally:
        log.removeHandler(handler)
        handler.close()

    assert (1, [done.rotated_file]) == (done.handlers_reopened, done.rotated_files)
    assert "before\n" == (tmp_path / str(done.rotated_file)).read_text()
    assert "after\n" == (tmp_path / "agentos.log").read_text()


async def test_without_files_only_what_waits_is_written_out(admin: Context) -> None:
    done = await act(admin, "logs.restart_service")

    assert (0, None, []) == (done.handlers_reopened, done.rotated_file, done.rotated_files)


async def test_figures_of_the_log_add_up(admin: Context, database: Database) -> None:
    await write(database, Severity.INFO, Severity.INFO, Severity.ERROR, source="api")
    await age(database, hours=2)
    await write(database, Severity.INFO, source="=worker")
    await write(database, Severity.INFO, tenant="other")

    done = await act(admin, "logs.export_analytics", window="24h")
    lately = await act(admin, "logs.export_analytics", window="1h")

    assert (4, True, 1) == (done.lines, done.complete, lately.lines)
    assert [("info", "=worker", 1), ("error", "api", 1), ("info", "api", 2)] == sorted(
        ((row.level, row.source, row.lines) for row in done.rows), key=lambda row: (row[1], row[2])
    )
    _, *rows = csv.reader(io.StringIO(fetched(admin, done.download_url).decode(), newline=""))
    assert (3, {"'=worker", "api"}) == (len(rows), {row[2] for row in rows})


async def test_a_stream_is_opened_once_by_who_was_given_it(admin: Context, redis: Redis) -> None:
    given = await act(admin, "logs.stream_realtime", level="warning", source="api", ttl_s=60)

    assert "logAppended" == given.channel
    assert given.stream_id.encode() not in b"".join([key async for key in redis.scan_iter("*")])
    wanted = await log_streams.redeemed(admin, given.stream_id)
    assert ((Severity.WARNING, Severity.ERROR, Severity.CRITICAL), "api") == (wanted.levels, wanted.source)
    with pytest.raises(NotFound):
        await log_streams.redeemed(admin, given.stream_id)


async def test_a_stream_is_nobody_else_s(admin: Context, people: People, other_people: People) -> None:
    """Whoever brings another's token gets nothing, and it is used up, for it was not kept secret."""
    for user in (people[Role.OPERATOR], other_people[Role.ADMIN]):
        given = await act(admin, "logs.stream_realtime")
        with pytest.raises(NotFound):
            await log_streams.redeemed(context_of(admin.services, user), given.stream_id)
        with pytest.raises(NotFound):
            await log_streams.redeemed(admin, given.stream_id)


async def test_who_may_not_see_the_log_opens_no_stream(admin: Context, people: People) -> None:
    given = await act(admin, "logs.stream_realtime")

    with pytest.raises(Forbidden):
        await log_streams.redeemed(context_of(admin.services, people[Role.USER]), given.stream_id)

    assert () == (await log_streams.redeemed(admin, given.stream_id)).levels


async def test_a_stream_expires(admin: Context, redis: Redis) -> None:
    await act(admin, "logs.stream_realtime", ttl_s=200)

    [left] = [await redis.pttl(key) async for key in redis.scan_iter("*log-stream*")]

    assert 150_000 < left <= 200_000
