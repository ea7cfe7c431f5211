"""The snapshot as a whole: its sections, collected side by side, and what becomes of one that fails."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

import msgspec

from dataloaders.snapshot import (
    agents_workers,
    analytics,
    configuration,
    dashboard,
    logs,
    queue,
    system_control,
)
from dataloaders.snapshot.agents_workers import AgentsWorkers
from dataloaders.snapshot.analytics import Analytics
from dataloaders.snapshot.configuration import Configuration
from dataloaders.snapshot.dashboard import ARCHITECTURE, Dashboard
from dataloaders.snapshot.logs import Logs
from dataloaders.snapshot.queue import Queue
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.system_control import SystemControl
from db.database import DatabaseUnavailable
from db.health import DATABASE_FAILED
from db.snapshots import FRESH, SCHEMA, TTL, Envelope

DEADLINE_S: Final = 2.0
"""How long one section may take; one slow table must not blank the console."""

log = logging.getLogger(__name__)


class Section(StrEnum):
    """The sections, as they are named in the JSON."""

    DASHBOARD = "dashboard"
    QUEUE = "queue"
    ANALYTICS = "analytics"
    AGENTS_WORKERS = "agents_workers"
    LOGS = "logs"
    SYSTEM_CONTROL = "system_control"
    CONFIGURATION = "configuration"


class Stale(msgspec.Struct, frozen=True, kw_only=True):
    """A section that could not be collected."""

    section: Section
    since: datetime | None
    """When the value shown instead was collected; None when there is none, and the section is null."""

    reason: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the console shows. A section is null only while it could not be collected even once."""

    envelope: Envelope
    dashboard: Dashboard | None
    queue: Queue | None
    analytics: Analytics | None
    agents_workers: AgentsWorkers | None
    logs: Logs | None
    system_control: SystemControl | None
    configuration: Configuration | None
    stale: list[Stale]
    """Sections whose value is older than the rest."""

    timestamp: datetime
    status: str
    """`success`, or `partial` when a section is stale."""

    architecture: str = ARCHITECTURE


Collect = Callable[[Sources, Frame], Awaitable[msgspec.Struct]]

SECTIONS: Final[Mapping[Section, Collect]] = MappingProxyType(
    {
        Section.DASHBOARD: dashboard.collect,
        Section.ANALYTICS: analytics.collect,
        Section.LOGS: logs.collect,
        Section.CONFIGURATION: configuration.collect,
        Section.QUEUE: queue.collect,
        Section.AGENTS_WORKERS: agents_workers.collect,
        Section.SYSTEM_CONTROL: system_control.collect,
    }
)
"""In the order in which they get their turn; those that wait for the same count are not all first."""

# Data that a section did not expect fails this section alone, as a database that is away does.
_FAILURES: Final = (*DATABASE_FAILED, ArithmeticError, LookupError, TypeError, ValueError)

# What differs between two builds although nothing has happened.
_PASSING: Final = re.compile(
    rb'"(?:timestamp|generated_at|metrics_timestamp|last_health_check|uptime|uptime_seconds|last_heartbeat|last_seen)"'
    rb':(?:"[^"]*"|[\d.]+)'
)


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that was just collected."""

    snapshot: Snapshot
    encoded: bytes
    digests: dict[str, str]
    """What each section says, times apart; equal digests, equal content."""

    complete: bool
    """Whether every section has a value; others may not be cached."""


class _Failed(msgspec.Struct, frozen=True):
    reason: str


async def build(
    sources: Sources,
    frame: Frame,
    *,
    last: Snapshot | None,
    gate: asyncio.Semaphore,
    sections: Mapping[Section, Collect] = SECTIONS,
) -> Built:
    """Collect every section side by side.

    Args:
        last: where a section that fails takes its value from.
        gate: how many sections may hold a database connection at once.

    Raises:
        DatabaseUnavailable: not one section has a value.
    """
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(_attempt(name, collect, sources, frame, gate), name=f"snapshot {name}")
            for name, collect in sections.items()
        }
    values: dict[Section, Any] = {}
    stale: list[Stale] = []
    for name, task in tasks.items():
        result = task.result()
        if not isinstance(result, _Failed):
            values[name] = result
            continue
        kept = getattr(last, name) if last else None
        values[name] = kept
        stale.append(Stale(section=name, since=kept.timestamp if kept else None, reason=result.reason))
    if not any(values.values()):
        raise DatabaseUnavailable("no section of the snapshot could be collected")
    return _assembled(frame, values, stale)


def digests_of(snapshot: Snapshot) -> dict[str, str]:
    """What each section of a snapshot says, times apart."""
    return {name: _digest(msgspec.json.encode(getattr(snapshot, name))) for name in Section}


def made_ms(version: str) -> int:
    """When a version was built, in milliseconds since the epoch; 0 for what is no version's name."""
    try:
        return int(version.partition("-")[0], 16)
    except ValueError:
        return 0


async def _attempt(
    name: Section, collect: Collect, sources: Sources, frame: Frame, gate: asyncio.Semaphore
) -> msgspec.Struct | _Failed:
    try:
        async with gate, asyncio.timeout(DEADLINE_S):
            return await collect(sources, frame)
    except TimeoutError:
        reason = f"it took longer than {DEADLINE_S:g} s"
        log.warning("the section %s of %s keeps its last value: %s", name, frame.tenant, reason)
    except DatabaseUnavailable as error:
        reason = str(error)
        log.warning("the section %s of %s keeps its last value: %s", name, frame.tenant, reason)
    except _FAILURES:
        # The reader is told that it failed, the log how: what the database says is not for everybody.
        reason = "it could not be collected"
        log.warning("the section %s of %s keeps its last value", name, frame.tenant, exc_info=True)
    return _Failed(reason)


def _assembled(frame: Frame, values: Mapping[Section, Any], stale: list[Stale]) -> Built:
    encoded = {name: msgspec.json.encode(value) for name, value in values.items()}
    digests = {str(name): _digest(part) for name, part in encoded.items()}
    envelope = Envelope(
        schema=SCHEMA,
        version=_version(frame.now, digests),
        generated_at=frame.now,
        fresh_until=frame.now + FRESH,
        expires_at=frame.now + TTL,
    )
    snapshot = Snapshot(
        envelope=envelope,
        **{str(name): value for name, value in values.items()},
        stale=stale,
        timestamp=frame.now,
        status="partial" if stale else "success",
    )
    around = {name: getattr(snapshot, name) for name in Snapshot.__struct_fields__}
    parts = {str(name): msgspec.Raw(part) for name, part in encoded.items()}
    return Built(
        snapshot=snapshot,
        encoded=msgspec.json.encode({**around, **parts}),
        digests=digests,
        complete=None not in values.values() and agents_workers.complete(values[Section.AGENTS_WORKERS]),
    )


def _version(now: datetime, digests: Mapping[str, str]) -> str:
    return f"{int(now.timestamp() * 1000):x}-{_digest(repr(digests).encode())}"


def _digest(encoded: bytes) -> str:
    return blake2b(_PASSING.sub(b"", encoded), digest_size=8).hexdigest()
