"""Looking the system over from its log: whether the stores answer, how much is written, and where errors gather."""

import asyncio
import time
from datetime import timedelta
from typing import Final

from dataloaders.snapshot.host import Host
from db import health, logs, statements
from db.health import DATABASE_FAILED
from db.logs import Minute
from db.models.records import Severity
from db.rows import Row
from guards.permissions import HOUSE_TENANT
from resolvers.context import Context
from resolvers.timing import ms_since

LOOKED_BACK: Final = timedelta(hours=1)
BURST_LEAST: Final = 10
"""Errors within one minute below which nothing is called a burst."""

BURST_TIMES: Final = 3
"""How many times the usual number of errors a minute makes a burst."""

DISK_FULL_PERCENT: Final = 90
SLOW_MS: Final = 500
SHOWN: Final = 5


class DiagnosticCheck(Row, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    healthy: bool | None
    """None when it cannot be told here."""

    detail: str
    took_ms: float


class DiagnosticFinding(Row, frozen=True, kw_only=True):
    """Something that wants looking after."""

    severity: Severity
    check: str
    finding: str


class Diagnosis(Row, frozen=True, kw_only=True):
    """How things stand."""

    checks: list[DiagnosticCheck]
    findings: list[DiagnosticFinding]
    """The worst first; none when all is well."""


class _Look:
    """One check at work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.perf_counter()
        self.findings: list[DiagnosticFinding] = []

    def found(self, severity: Severity, finding: str) -> None:
        """Note what wants looking after."""
        self.findings.append(DiagnosticFinding(severity=severity, check=self._name, finding=finding))

    def ended(self, healthy: bool | None, detail: str) -> DiagnosticCheck:
        """What came of it."""
        took_ms = ms_since(self._began)
        return DiagnosticCheck(name=self._name, healthy=healthy, detail=detail, took_ms=took_ms)


async def diagnosed(context: Context) -> Diagnosis:
    """Look at everything, one after another; what does not answer is a finding, not an error."""
    looks = {
        name: (_Look(name), check)
        for name, check in (
            ("database", _database),
            ("redis", _redis),
            ("disk", _disk),
            ("log", _log),
            ("statements", _statements),
        )
    }
    checks = [await check(context, look) for look, check in looks.values()]
    findings = [finding for look, _ in looks.values() for finding in look.findings]
    worst_first = sorted(findings, key=lambda finding: list(Severity).index(finding.severity), reverse=True)
    return Diagnosis(checks=checks, findings=worst_first)


async def _database(context: Context, look: _Look) -> DiagnosticCheck:
    try:
        async with context.services.database.transaction(context.caller.tenant) as tx:
            latency_ms = await health.latency_ms(tx)
    except DATABASE_FAILED:
        look.found(Severity.CRITICAL, "the database does not answer")
        return look.ended(False, "does not answer")
    return look.ended(True, f"answers in {latency_ms:.1f} ms")


async def _redis(context: Context, look: _Look) -> DiagnosticCheck:
    if await health.redis_answers(context.services.redis):
        return look.ended(True, "answers")
    look.found(Severity.ERROR, "Redis does not answer: the snapshot and limits do without it")
    return look.ended(False, "does not answer")


async def _disk(context: Context, look: _Look) -> DiagnosticCheck:
    try:
        machine = await asyncio.to_thread(Host(context.services.files.root).machine)
    except OSError:
        look.found(Severity.ERROR, "the disk of the files cannot be asked how full it is")
        return look.ended(None, "cannot be asked")
    full = machine.disk_percent >= DISK_FULL_PERCENT
    if full:
        look.found(Severity.WARNING, f"the disk of the files is {machine.disk_percent:.0f} % full")
    return look.ended(not full, f"{machine.disk_percent:.1f} % full, {machine.disk_free} bytes free")


async def _log(context: Context, look: _Look) -> DiagnosticCheck:
    try:
        async with context.services.database.transaction(context.caller.tenant) as tx:
            minutes = await logs.minutes(tx, await logs.moment(tx, ago=LOOKED_BACK))
    except DATABASE_FAILED:
        return look.ended(None, "cannot be read")
    over = LOOKED_BACK / timedelta(minutes=1)
    lines, errors = sum(minute.lines for minute in minutes), sum(minute.errors for minute in minutes)
    for minute in bursts(minutes):
        look.found(Severity.ERROR, f"{minute.errors} errors in the minute from {minute.minute.isoformat()}")
    detail = f"{lines / over:.1f} lines and {errors / over:.2f} errors a minute over the last hour"
    return look.ended(not look.findings, detail)


def bursts(minutes: list[Minute]) -> list[Minute]:
    """The minutes of an hour with far more errors than usual, the worst first."""
    usual = sum(minute.errors for minute in minutes) / (LOOKED_BACK / timedelta(minutes=1))
    found = [minute for minute in minutes if minute.errors >= max(BURST_LEAST, BURST_TIMES * usual)]
    return sorted(found, key=lambda minute: minute.errors, reverse=True)[:SHOWN]


async def _statements(context: Context, look: _Look) -> DiagnosticCheck:
    if context.caller.tenant != HOUSE_TENANT:
        return look.ended(None, "concerns the whole installation, and is shown to those who run it")
    try:
        async with context.services.database.system() as tx:
            if not await statements.are_counted(tx):
                return look.ended(None, "not known: the extension pg_stat_statements is not installed")
            slow = await statements.slow(tx, slow_ms=SLOW_MS, most=SHOWN)
    except DATABASE_FAILED:
        return look.ended(None, "not known: pg_stat_statements is not loaded or may not be read")
    for statement in slow:
        look.found(
            Severity.WARNING, f"{statement.mean_ms:.0f} ms on average, {statement.calls} times: {statement.text}"
        )
    return look.ended(not slow, f"{len(slow)} take {SLOW_MS} ms or more on average")
