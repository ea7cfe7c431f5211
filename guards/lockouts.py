"""Guessing stopped: who tries too many passwords has to wait, and somebody is told.

An attempt is counted before its password is looked at, so a hundred at once get no further than one after the other.
Five failures within a quarter of an hour, for one account from one neighbourhood, lock that pair for a minute, then
two, four, and so on up to fifteen. Many failures of one account from everywhere put it into the slow lane: strangers
get one attempt in fifteen seconds, and who has signed in from the same neighbourhood before is not held up. An address
that fails with account after account is locked as a whole. Of a place that keeps sending tokens that are not good,
which the rate limits hold up (`guards.allowances`), somebody is told as well.

All of it is in PostgreSQL, by its clock: Redis away or emptied changes nothing; PostgreSQL away, nobody signs in.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Final
from uuid import UUID

import msgspec

from db import events, lockouts, system_events, users
from db.database import Database, Transaction
from db.events import Kind
from db.lockouts import Denied, Record
from db.models.records import Severity
from guards import networks
from guards.permissions import HOUSE_TENANT

WITHIN: Final = timedelta(minutes=15)
"""How long a failure counts."""

MOST_FAILURES: Final = 5
"""Of one account from one neighbourhood."""

MOST_OF_ACCOUNT: Final = 20
"""Of one account from everywhere, before it is in the slow lane."""

SLOW: Final = timedelta(seconds=15)
"""How far apart attempts of strangers are in the slow lane."""

MOST_OF_NETWORK: Final = 50
"""Of one neighbourhood, whatever the account."""

FIRST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(minutes=15)
QUIET: Final = timedelta(days=1)
"""After how long without an attempt a first lock is a minute again."""

MOST_DENIED: Final = 5
"""Refused requests of one user within a quarter of an hour, before somebody is told."""

SAME_REQUEST: Final = timedelta(seconds=2)
"""For how long refusals under one trace are those of one request; clients may choose their trace."""

SOURCE: Final = "guards"

MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AlertReason(StrEnum):
    """What those who look after security are told of."""

    SIGN_IN_LOCKED = "sign_in_locked"
    """Too many attempts to sign in failed."""

    ACTIONS_DENIED = "actions_denied"
    """A user kept asking for what they may not."""

    REFRESH_TOKEN_REUSED = "refresh_token_reused"
    """A refresh token came a second time: one of the two who have it has stolen it."""

    BAD_TOKENS = "bad_tokens"
    """Too many tokens from one place were not good."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody trying to sign in."""

    tenant: str
    email: str
    address: str
    user_id: UUID | None
    """Whose account it is, if it is one."""

    @property
    def pair(self) -> bytes:
        """The account from this neighbourhood."""
        return _subject("pair", self.tenant, self.email.lower(), networks.neighbourhood(self.address, wide=True))

    @property
    def account(self) -> bytes:
        """The account from everywhere."""
        return _subject("account", self.tenant, self.email.lower())

    @property
    def network(self) -> bytes:
        """The neighbourhood with any account."""
        return _subject("network", networks.neighbourhood(self.address))


class Admission(Enum):
    """Whether the password of an attempt may be looked at."""

    BARRED = auto()
    ADMITTED = auto()
    LAST = auto()
    """It may, and should it be wrong, there is no other for a while."""

    @property
    def open(self) -> bool:
        """Whether it may."""
        return self is not Admission.BARRED


class Lockouts:
    """Watches failures; keeps nothing itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, attempt: Attempt) -> Admission:
        """Count an attempt as failed, as long as nothing else is known, and say how far it may go."""
        async with self._database.system() as tx:
            records, now = await lockouts.held(tx, [attempt.pair, attempt.account, attempt.network])
            pair, account, network = (
                _fresh(records[subject], now) for subject in (attempt.pair, attempt.account, attempt.network)
            )
            if _locked(pair, now) or _locked(network, now) or _slowed(account, pair, now):
                return Admission.BARRED
            after = [
                _counted(pair, now, MOST_FAILURES),
                msgspec.structs.replace(account, failures=[*account.failures, _micros(now)][-MOST_OF_ACCOUNT:]),
                _counted(network, now, MOST_OF_NETWORK),
            ]
            await lockouts.keep(tx, after)
        return Admission.LAST if any(_locked(record, now) for record in after) else Admission.ADMITTED

    async def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures of an account from here, and take this attempt off the others' counts."""
        async with self._database.system() as tx:
            records, now = await lockouts.held(tx, [attempt.pair, attempt.account, attempt.network])
            # Whoever may sign in to one account must not wipe off by it what they tried with others.
            others = (records[subject] for subject in (attempt.account, attempt.network))
            pair = msgspec.structs.replace(records[attempt.pair], failures=[], locks=0, locked_until=None, known_at=now)
            await lockouts.keep(
                tx, [pair, *(msgspec.structs.replace(other, failures=other.failures[:-1]) for other in others)]
            )

    async def failed(self, attempt: Attempt, admission: Admission) -> None:
        """Tell of an attempt that has locked out who made it."""
        if admission is not Admission.LAST:
            return
        tenant = attempt.tenant if attempt.user_id else HOUSE_TENANT
        async with self._database.system() as tx:
            if await users.is_tenant(tx, tenant):
                await alert(
                    tx, tenant, attempt.user_id, AlertReason.SIGN_IN_LOCKED, "too many failed attempts to sign in"
                )

    async def flooded(self, address: str) -> None:
        """Tell of a neighbourhood that sends so many bad tokens that it has to wait; once in a quarter of an hour."""
        subject = _subject("tokens", networks.neighbourhood(address))
        async with self._database.system() as tx:
            records, now = await lockouts.held(tx, [subject])
            if _locked(records[subject], now) or not await users.is_tenant(tx, HOUSE_TENANT):
                return
            await lockouts.keep(tx, [msgspec.structs.replace(records[subject], locked_until=now + WITHIN)])
            message = "too many tokens from one place were not good"
            await alert(tx, HOUSE_TENANT, None, AlertReason.BAD_TOKENS, message)

    async def denied(self, tenant: str, user_id: UUID, trace_id: str) -> None:
        """Note that a request of a user was refused; the fifth within a quarter of an hour is told."""
        async with self._database.transaction(tenant) as tx:
            found = await lockouts.denied(tx, user_id)
            if found is None:
                return
            seen, now = found
            at = _micros(now)
            before = [
                (moment, trace)
                for moment, trace in zip(seen.refused, seen.traces, strict=True)
                if moment > at - WITHIN // MICROSECOND
            ]
            if any(trace == trace_id and moment > at - SAME_REQUEST // MICROSECOND for moment, trace in before):
                return
            after = [*before, (at, trace_id)][-MOST_DENIED:]
            due = len(after) == MOST_DENIED and (seen.alerted_at is None or seen.alerted_at <= now - WITHIN)
            refused, traces = zip(*after, strict=True)
            told = now if due else seen.alerted_at
            await lockouts.keep_denied(tx, user_id, Denied(list(refused), list(traces), told))
            if due:
                await alert(
                    tx, tenant, user_id, AlertReason.ACTIONS_DENIED, f"{MOST_DENIED} requests of a user were refused"
                )


def _subject(*parts: str) -> bytes:
    """A hash in which no part can be taken for the end of another."""
    return hashlib.sha256(msgspec.json.encode([part.encode("utf-8", "surrogatepass") for part in parts])).digest()


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def _fresh(record: Record, now: datetime) -> Record:
    """The same without what is too long ago to count."""
    since = _micros(now - WITHIN)
    return msgspec.structs.replace(
        record,
        failures=[at for at in record.failures if at > since],
        locks=0 if record.changed_at < now - QUIET else record.locks,
    )


def _counted(record: Record, now: datetime, most: int) -> Record:
    """The same after one more attempt; locked if that was the last there is."""
    failures = [*record.failures, _micros(now)]
    if len(failures) < most:
        return msgspec.structs.replace(record, failures=failures)
    # Doubled for each lock of somebody who never tires, it would be longer than any time that can be told, and from the
    # forty-first on every attempt would fail instead of being refused.
    until = now + min(FIRST * 2 ** min(record.locks, LONGEST // FIRST), LONGEST)
    return msgspec.structs.replace(record, failures=[], locks=record.locks + 1, locked_until=until)


def _locked(record: Record, now: datetime) -> bool:
    return record.locked_until is not None and record.locked_until > now


def _slowed(account: Record, pair: Record, now: datetime) -> bool:
    """Whether an account is in the slow lane, and it is not this neighbourhood's turn yet."""
    if len(account.failures) < MOST_OF_ACCOUNT or pair.known_at is not None:
        return False
    return account.failures[-1] > _micros(now - SLOW)


async def alert(tx: Transaction, tenant: str, user_id: UUID | None, reason: AlertReason, message: str) -> None:
    """Tell those who watch, now and on record."""
    about = {"reason": reason, "user_id": None if user_id is None else str(user_id)}
    await events.record(
        tx, Kind.SECURITY_ALERTED, str(user_id or tenant), {"reason": reason}, owner=user_id, tenant=tenant
    )
    await system_events.record(tx, reason, Severity.WARNING, SOURCE, message, about, tenant=tenant)
