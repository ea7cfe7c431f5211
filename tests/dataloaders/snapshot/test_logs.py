"""The newest lines, and what they can be filtered by."""

from dataloaders.snapshot import logs
from dataloaders.snapshot.logs import LINES_SHOWN
from dataloaders.snapshot.sources import Frame, Sources
from db import logs as lines
from db.database import Database
from db.models.records import Severity
from tests.dataloaders.snapshot.conftest import Lived


async def test_sources_and_levels_are_those_there_are(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await logs.collect(sources, frame)

    assert {("info", "worker", "took a job"), ("error", "api", "gave up")} == {
        (line.level, line.source, line.message) for line in shown.logs
    }
    assert ["api", "worker"] == shown.available_sources
    assert tuple(Severity) == shown.available_levels


async def test_no_more_than_a_hundred_are_shown(
    sources: Sources, frame: Frame, database: Database, tenant: str
) -> None:
    written = [lines.NewLine(level=Severity.INFO, source="api", message=str(number)) for number in range(120)]
    async with database.transaction(tenant) as tx:
        await lines.write(tx, written)

    shown = await logs.collect(sources, frame)

    assert LINES_SHOWN == len(shown.logs) == shown.applied_filters.limit
