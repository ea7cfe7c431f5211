"""Figures as they are written down, and where they come from."""

import csv
import io
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.snapshot.ranges import TimeRange
from db import users
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, job_hours
from db.tallies import Hour
from guards.errors import BadInput
from guards.links import PLACE
from resolvers import figures
from resolvers.context import Context
from resolvers.figures import Incident
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of

HOUR = datetime(2026, 1, 2, 3, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def foreign(admin: Context, other_people: People) -> Context:
    return context_of(admin.services, other_people[Role.ADMIN])


async def ended(database: Database, status: str, number: int, *, message: str | None = None, took_s: int = 60) -> None:
    """Jobs of the default tenant that have just ended so."""
    async with database.system(timeout=timedelta(minutes=1)) as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO jobs (id, tenant_id, source_url, chain, status, worker_id, error_code, error_message, "
                "started_at, completed_at) SELECT gen_random_uuid(), 'default', 'https://v.test', '{clipper}', "
                "CAST(:status AS job_status), 'w1', CAST(:code AS text), CAST(:message AS text), "
                "now() - :took_s * interval '1 second', now() FROM generate_series(1, :number)"
            ),
            {
                "status": status,
                "number": number,
                "code": "STEP_FAILED" if message else None,
                "message": message,
                "took_s": took_s,
            },
        )


def fetched(context: Context, url: str) -> bytes:
    link = context.services.links.opened(url.partition(PLACE)[2])
    return context.services.files.resolve(link.path).read_bytes()


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_exported_figures_are_those_on_record(admin: Context, foreign: Context, database: Database) -> None:
    await ended(database, "completed", 3)
    await ended(database, "failed", 1, message="=cmd()")

    done = await act(admin, "analytics.export_data", format="json")
    other = await act(foreign, "analytics.export_data", format="json")

    found = msgspec.json.decode(fetched(admin, done.download_url))
    assert (3, 1, 75.0, 60.0) == tuple(
        found["summary"][name] for name in ("jobs_completed", "jobs_failed", "success_percent", "average_run_s")
    )
    assert [{"worker": "w1", "completed": 3, "failed": 1, "average_s": 60.0}] == found["workers"]
    assert (25, 3) == (len(found["hours"]), found["hours"][-1]["completed"])
    assert 0 == msgspec.json.decode(fetched(foreign, other.download_url))["summary"]["jobs_completed"]


async def test_what_is_not_known_is_null(admin: Context) -> None:
    done = await act(admin, "analytics.generate_report", type="comprehensive")

    unknown = ("success_percent", "average_wait_s", "average_run_s", "p95_run_s", "busiest_hour", "mttr_s")
    assert dict.fromkeys(unknown) == {name: done.summary[name] for name in unknown}
    assert [{"jobs": 0, "average_s": None, "p50_s": None, "p95_s": None, "p99_s": None}] == msgspec.json.decode(
        fetched(admin, done.download_url)
    )["durations"]


async def test_one_table_of_figures_is_plain_csv_that_runs_nothing(admin: Context, database: Database) -> None:
    await ended(database, "failed", 2, message="=cmd()")

    done = await act(admin, "analytics.export_data", datasets=["failures"])
    whole = await act(admin, "analytics.export_data")

    table = list(csv.reader(io.StringIO(fetched(admin, done.download_url).decode(), newline="")))
    assert [["code", "message", "jobs"], ["STEP_FAILED", "'=cmd()", "2"]] == table
    assert 1 == done.rows < whole.rows
    names = [
        line for line in fetched(admin, whole.download_url).decode().split("\r\n") if line in list(figures.Dataset)
    ]
    assert list(figures.Dataset) == names


async def test_a_page_is_whole_and_runs_nothing(admin: Context, database: Database) -> None:
    await ended(database, "failed", 1, message=SCRIPT)

    done = await act(admin, "analytics.generate_report", type="errors", format="html")

    page = Page(fetched(admin, done.download_url).decode())
    assert SCRIPT in page.text
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert not page.attributes & {"src", "href", "onclick", "style"}
    assert done.filename.endswith(".html")


@pytest.mark.parametrize("format", ["json", "csv", "html"])
@pytest.mark.parametrize(
    ("kind", "said", "range"),
    [
        ("sla", "sla", "24h"),
        ("performance", "performance", "24h"),
        ("error_analysis", "errors", "24h"),
        ("usage", "usage", "24h"),
        ("workers", "workers", "24h"),
        ("mttr", "mttr", "24h"),
        ("daily", "daily", "24h"),
        ("weekly_summary", "weekly", "7d"),
        ("comprehensive", "comprehensive", "24h"),
    ],
)
async def test_every_report_is_written(admin: Context, kind: str, said: str, range: str, format: str) -> None:
    done = await act(admin, "analytics.generate_report", type=kind, format=format)

    assert (said, range) == (done.report_type, done.range)
    assert done.filename.startswith(f"{said}-report-{range}-")
    assert done.size == len(fetched(admin, done.download_url))


async def test_other_names_of_fields_are_known(admin: Context) -> None:
    done = await act(admin, "analytics.generate_report", older=True, report_type="sla", timerange="7d", timestamp=1)

    assert ("sla", "7d") == (done.report_type, done.range)
    with pytest.raises(BadInput):
        await act(admin, "analytics.generate_report", older=True, type="horoscope")


def test_an_incident_lasts_until_all_is_well_again() -> None:
    def hour(number: int, status: JobStatus) -> Hour:
        return Hour(HOUR + timedelta(hours=number), status, 2, 0.0, 0.0)

    hours = [
        hour(0, JobStatus.COMPLETED),
        hour(1, JobStatus.FAILED),
        hour(2, JobStatus.FAILED),
        hour(2, JobStatus.COMPLETED),
        hour(5, JobStatus.COMPLETED),
        hour(7, JobStatus.FAILED),
    ]

    found = figures.incidents_of(hours)

    assert [
        Incident(began=HOUR + timedelta(hours=1), ended=HOUR + timedelta(hours=5), failed=4),
        Incident(began=HOUR + timedelta(hours=7), ended=None, failed=2),
    ] == found
    assert (4 * 3600.0, None, None) == (figures.mttr_s(found), figures.mttr_s(found[1:]), figures.mttr_s([]))


async def test_a_refresh_adds_up_and_builds_anew(admin: Context, database: Database) -> None:
    for _ in range(3):
        await ended(database, "completed", 1)
    before = await admin.services.snapshots.current("default")
    await ended(database, "completed", 1)

    done = await act(admin, "analytics.refresh_data")

    after = await admin.services.snapshots.current("default")
    assert done.snapshot_version == after.envelope.version != before.envelope.version
    assert after.analytics is not None
    assert 4 == after.analytics.data.data.completed_jobs
    assert done.folded > 0 < done.duration_ms
    async with database.system() as tx:
        each = sa.select(job_hours.c.tenant_id, job_hours.c.hour, job_hours.c.status).subquery()
        rows, places = (
            await tx.scalar(sa.select(sa.func.count()).select_from(each)),
            await tx.scalar(sa.select(sa.func.count()).select_from(sa.select(each).distinct().subquery())),
        )
    assert rows == places


async def test_a_stretch_of_time_is_preferred_from_now_on(admin: Context, database: Database, people: People) -> None:
    reader = context_of(admin.services, people[Role.READONLY])
    async with database.transaction("default") as tx:
        await users.prefer(tx, people[Role.READONLY].id, {"theme": "dark"})

    done = await act(reader, "analytics.switch_timeperiod", range="7d")

    async with database.transaction("default") as tx:
        preferred = await users.preferences(tx, people[Role.READONLY].id)
        others = await users.preferences(tx, people[Role.ADMIN].id)
    assert ({"theme": "dark", "analytics_range": "7d"}, {}) == (preferred, others)
    assert ("7d", 169) == (done.analytics["time_range"], len(done.analytics["job_trends"]["hourly_distribution"]))


@pytest.mark.slow
async def test_figures_cost_no_more_because_there_are_more_jobs(admin: Context, database: Database) -> None:
    """Twenty times the jobs may not cost three times as much."""

    async def best_ms() -> float:
        await act(admin, "analytics.refresh_data")
        await analyze(database)
        took: list[float] = []
        for _ in range(10):
            began = time.perf_counter()
            async with database.transaction("default") as tx:
                await figures.read(tx, TimeRange.MONTH)
            took.append((time.perf_counter() - began) * 1000)
        return min(took)

    await ended(database, "completed", 1_000)
    few = await best_ms()
    await ended(database, "completed", 20_000)

    assert await best_ms() < 3 * few


async def analyze(database: Database) -> None:
    """Have PostgreSQL look how many rows there are, as it does by itself within a minute."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(sa.text("ANALYZE"))
