"""Guessing stopped: who fails too often waits, whoever asks at once gets no further, and somebody is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import events, lockouts, users
from db.database import Database
from db.events import START, Kind
from db.models.identity import Role
from db.redis import Redis
from db.users import User
from guards import passwords
from guards.audit import Audit
from guards.callers import Origin
from guards.errors import Unauthenticated
from guards.lockouts import (
    MOST_DENIED,
    MOST_FAILURES,
    MOST_OF_ACCOUNT,
    MOST_OF_NETWORK,
    QUIET,
    SLOW,
    WITHIN,
    Admission,
    Attempt,
    Lockouts,
)
from guards.sessions import Sessions
from guards.tokens import KeyRing, Tokens, new_key
from tests.conftest import People
from tests.trails import seals

TENANT = "default"
EMAIL = "ada@default.test"
PASSWORD = "correct horse battery staple"
HERE = "203.0.113.7"
NEXT_DOOR = "203.0.113.250"
ELSEWHERE = "198.51.100.7"
TOKENS = Tokens(KeyRing([new_key()]), issuer="tests")


@pytest.fixture(scope="module")
def password_hash() -> str:
    return asyncio.run(passwords.hashed(PASSWORD))


@pytest_asyncio.fixture
async def ada(database: Database, password_hash: str) -> User:
    async with database.transaction(TENANT) as tx:
        made = await users.add(
            tx, tenant=TENANT, email=EMAIL, name="Ada", role=Role.OPERATOR, password_hash=password_hash
        )
    assert made is not None
    return made


@pytest.fixture
def guard(database: Database) -> Lockouts:
    return Lockouts(database)


def attempt(address: str = HERE, *, email: str = EMAIL, user: User | None = None) -> Attempt:
    return Attempt(tenant=TENANT, email=email, address=address, user_id=user.id if user else None)


async def failed(guard: Lockouts, tried: Attempt) -> Admission:
    """An attempt with a wrong password."""
    admission = await guard.begin(tried)
    if admission.open:
        await guard.failed(tried, admission)
    return admission


async def pass_time(database: Database, span: timedelta) -> None:
    """Let all that is known have happened earlier."""
    async with database.system() as tx:
        await tx.execute(
            sa.text(
                "UPDATE lockouts SET changed_at = changed_at - CAST(:span AS interval), "
                "locked_until = locked_until - CAST(:span AS interval), "
                "failures = ARRAY(SELECT at - :us FROM unnest(failures) WITH ORDINALITY AS f(at, place) ORDER BY place)"
            ),
            {"span": span, "us": span // timedelta(microseconds=1)},
        )


async def alerts(database: Database) -> list[dict[str, Any]]:
    """What was told, as events and on record alike."""
    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.SECURITY_ALERTED]
        kept = await tx.rows(sa.text("SELECT kind, data FROM system_events ORDER BY created_at"))
    assert [event.payload["reason"] for event in told] == [kind for kind, _ in kept]
    return [{"reason": event.payload["reason"], "owner": event.owner_id} for event in told]


async def test_the_fifth_failure_locks_out_and_the_right_password_does_not_help(guard: Lockouts) -> None:
    tries = [await failed(guard, attempt()) for _ in range(MOST_FAILURES + 3)]

    assert [Admission.ADMITTED] * 4 + [Admission.LAST] + [Admission.BARRED] * 3 == tries


async def test_a_lock_holds_for_the_neighbourhood_and_not_for_others(guard: Lockouts) -> None:
    for _ in range(MOST_FAILURES):
        await failed(guard, attempt())

    assert Admission.BARRED is await guard.begin(attempt(NEXT_DOOR))
    assert Admission.ADMITTED is await guard.begin(attempt(ELSEWHERE))
    assert Admission.ADMITTED is await guard.begin(attempt(email="grace@default.test"))


async def test_an_address_of_the_same_64_bits_is_next_door(guard: Lockouts) -> None:
    for last in range(MOST_FAILURES):
        await failed(guard, attempt(f"2001:db8::{last:x}"))

    assert Admission.BARRED is await guard.begin(attempt("2001:db8::ffff"))
    assert Admission.ADMITTED is await guard.begin(attempt("2001:db8:0:1::1"))


async def test_a_lock_lasts_a_minute_then_two_then_four_up_to_fifteen(guard: Lockouts, database: Database) -> None:
    lasted = []
    for _ in range(6):
        while (await failed(guard, attempt())).open:
            pass
        async with database.system() as tx:
            [(minutes,)] = await tx.rows(
                sa.text(
                    "SELECT round(extract(epoch FROM locked_until - clock_timestamp()) / 60) FROM lockouts "
                    "WHERE locked_until IS NOT NULL"
                )
            )
        lasted.append(int(minutes))
        await pass_time(database, timedelta(minutes=int(minutes), seconds=1))

    assert [1, 2, 4, 8, 15, 15] == lasted


async def test_who_never_tires_is_locked_out_as_before(guard: Lockouts, database: Database) -> None:
    """Twenty days of guessing make two thousand locks."""
    await failed(guard, attempt())
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE lockouts SET locks = 2000"))

    tries = [await failed(guard, attempt()) for _ in range(MOST_FAILURES)]

    assert [Admission.ADMITTED] * 3 + [Admission.LAST, Admission.BARRED] == tries


async def test_after_a_quiet_day_the_first_lock_is_a_minute_again(guard: Lockouts, database: Database) -> None:
    for _ in range(2):
        for _ in range(MOST_FAILURES):
            await failed(guard, attempt())
        await pass_time(database, QUIET + timedelta(seconds=1))
    for _ in range(MOST_FAILURES):
        await failed(guard, attempt())

    await pass_time(database, timedelta(minutes=1, seconds=1))

    assert Admission.ADMITTED is await guard.begin(attempt())


async def test_failures_of_long_ago_do_not_count(guard: Lockouts, database: Database) -> None:
    for _ in range(MOST_FAILURES - 1):
        await failed(guard, attempt())
    await pass_time(database, WITHIN + timedelta(seconds=1))

    assert Admission.ADMITTED is await guard.begin(attempt())


async def test_what_was_barred_does_not_make_it_longer(guard: Lockouts, database: Database) -> None:
    for _ in range(MOST_FAILURES + 10):
        await failed(guard, attempt())

    await pass_time(database, timedelta(minutes=1, seconds=1))

    assert Admission.ADMITTED is await guard.begin(attempt())


async def test_success_wipes_off_the_failures_of_the_account_from_there(guard: Lockouts) -> None:
    for _ in range(MOST_FAILURES - 1):
        await failed(guard, attempt())
    assert Admission.LAST is await guard.begin(attempt())
    await guard.succeeded(attempt())

    assert [Admission.ADMITTED] * 4 == [await failed(guard, attempt()) for _ in range(MOST_FAILURES - 1)]


async def test_success_with_ones_own_account_does_not_wipe_off_guesses_at_others(guard: Lockouts) -> None:
    """Else whoever has an account here may guess for ever, signing in to their own now and then."""
    own = attempt(email="mallory@default.test")
    for number in range(MOST_OF_NETWORK):
        await failed(guard, attempt(email=f"victim{number}@default.test"))
        if (await guard.begin(own)).open:
            await guard.succeeded(own)

    assert Admission.BARRED is await guard.begin(attempt(email="one-more@default.test"))


async def test_an_account_under_fire_from_everywhere_is_slow_for_strangers_and_open_to_who_is_known(
    guard: Lockouts, database: Database
) -> None:
    await guard.begin(attempt(ELSEWHERE))
    await guard.succeeded(attempt(ELSEWHERE))
    for number in range(MOST_OF_ACCOUNT):
        await failed(guard, attempt(f"192.0.{number}.1"))

    assert Admission.BARRED is await guard.begin(attempt("192.0.200.1"))
    assert Admission.ADMITTED is await guard.begin(attempt(ELSEWHERE))

    await pass_time(database, SLOW + timedelta(seconds=1))

    assert Admission.ADMITTED is await guard.begin(attempt("192.0.200.1"))
    assert Admission.BARRED is await guard.begin(attempt("192.0.201.1"))


async def test_a_lock_is_told_once_to_those_who_watch(guard: Lockouts, database: Database, ada: User) -> None:
    for _ in range(MOST_FAILURES + 5):
        await failed(guard, attempt(user=ada))

    assert [{"reason": "sign_in_locked", "owner": ada.id}] == await alerts(database)


async def test_of_an_account_that_is_none_the_house_is_told(guard: Lockouts, database: Database) -> None:
    for _ in range(MOST_FAILURES):
        await failed(guard, Attempt(tenant="no such tenant", email="x", address=HERE, user_id=None))

    assert [{"reason": "sign_in_locked", "owner": None}] == await alerts(database)


async def test_emptying_redis_unlocks_nobody(guard: Lockouts, redis: Redis) -> None:
    for _ in range(MOST_FAILURES):
        await failed(guard, attempt())

    await redis.flushall()

    assert Admission.BARRED is await guard.begin(attempt())


async def test_no_address_and_no_name_is_kept(guard: Lockouts, database: Database, ada: User) -> None:
    for _ in range(MOST_FAILURES):
        await failed(guard, attempt(user=ada))

    async with database.system() as tx:
        kept = str(await tx.rows(sa.text("SELECT l::text FROM lockouts AS l")))
        kept += str(
            await tx.rows(sa.text("SELECT e::text FROM system_events AS e UNION SELECT e::text FROM events AS e"))
        )

    assert HERE not in kept
    assert EMAIL not in kept


async def test_what_nobody_tries_any_more_is_forgotten(guard: Lockouts, database: Database) -> None:
    await failed(guard, attempt())
    await guard.begin(attempt(ELSEWHERE, email="grace@default.test"))
    await guard.succeeded(attempt(ELSEWHERE, email="grace@default.test"))
    await pass_time(database, lockouts.KEPT + timedelta(hours=1))

    async with database.system() as tx:
        assert 5 == await lockouts.forget(tx)
        [(known,)] = await tx.rows(sa.text("SELECT known_at IS NOT NULL FROM lockouts"))
    assert known


@pytest_asyncio.fixture
async def replicas(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Sessions]]:
    """Two servers' sessions, each with connections of its own."""
    # What is counted is who gets how far, not how long fifty wait for each other on a machine that is busy.
    monkeypatch.setattr("db.database.LOCK_TIMEOUT", timedelta(minutes=1))
    async with AsyncExitStack() as stack:
        keys = seals()
        pools = [Database.connect(database_url, size=26) for _ in range(2)]
        for pool in pools:
            stack.push_async_callback(pool.close)
            async with AsyncExitStack() as opened:
                # One after the other: fifty made at once may each take longer than a connection may.
                for _ in range(26):
                    await opened.enter_async_context(pool.engine.connect())
        yield [Sessions(pool, TOKENS, Audit(pool, keys)) for pool in pools]


async def swarm(replicas: list[Sessions], monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """How many of fifty guesses at once were looked at (True) and how many only seemed to be."""
    looked_at: Counter[bool] = Counter()
    verify = passwords._verified

    def counting(password: str, stored: str) -> bool:
        looked_at[stored != passwords._NOBODY] += 1
        # What this test counts is not how long a comparison takes.
        return stored != passwords._NOBODY and password == PASSWORD and verify(password, stored)

    monkeypatch.setattr(passwords, "_verified", counting)

    async def guess(number: int) -> None:
        with pytest.raises(Unauthenticated, match="email or password is wrong"):
            await replicas[number % 2].opened(
                tenant=TENANT, email=EMAIL, password=f"guess {number}", origin=Origin(address=HERE)
            )

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(guess(number))
    return looked_at


async def test_fifty_guesses_at_once_over_two_servers_get_no_further_than_five(
    replicas: list[Sessions], ada: User, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = await swarm(replicas, monkeypatch)

    assert Counter({True: MOST_FAILURES, False: 50 - MOST_FAILURES}) == looked_at
    for server in replicas:
        with pytest.raises(Unauthenticated, match="email or password is wrong"):
            await server.opened(tenant=TENANT, email=EMAIL, password=PASSWORD, origin=Origin(address=HERE))
    await pass_time(database, timedelta(minutes=1, seconds=1))
    assert (
        ada.id
        == (
            await replicas[0].opened(tenant=TENANT, email=EMAIL, password=PASSWORD, origin=Origin(address=HERE))
        ).user_id
    )


class CountedAfterwards(Lockouts):
    """As most do it: looks whether there are too many failures, and counts one once the password was wrong."""

    async def begin(self, attempt: Attempt) -> Admission:
        async with self._database.system() as tx:
            records, _ = await lockouts.held(tx, [attempt.pair])
        return Admission.BARRED if len(records[attempt.pair].failures) >= MOST_FAILURES else Admission.ADMITTED

    async def failed(self, attempt: Attempt, admission: Admission) -> None:
        await super().begin(attempt)


async def test_control_counting_afterwards_lets_guesses_at_once_through(
    replicas: list[Sessions], ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in replicas:
        server._lockouts = CountedAfterwards(server._database)

    looked_at = await swarm(replicas, monkeypatch)

    assert looked_at[True] > MOST_FAILURES


async def deny(guard: Lockouts, user_id: UUID, *traces: str) -> None:
    for trace in traces:
        await guard.denied(TENANT, user_id, trace)


async def test_the_fifth_refused_request_of_a_user_is_told_and_no_other_for_a_while(
    guard: Lockouts, database: Database, people: People
) -> None:
    user = people[Role.USER].id

    await deny(guard, user, *(f"trace-{number}" for number in range(MOST_DENIED - 1)))
    before = await alerts(database)
    await deny(guard, user, *(f"later-{number}" for number in range(20)))

    assert [] == before
    assert [{"reason": "actions_denied", "owner": user}] == await alerts(database)


async def test_refusals_of_one_request_count_once(guard: Lockouts, database: Database, people: People) -> None:
    await deny(guard, people[Role.USER].id, *["same"] * 20)

    assert [] == await alerts(database)


async def test_refusals_of_different_people_are_not_added_up(
    guard: Lockouts, database: Database, people: People
) -> None:
    for number, user in enumerate(people.values()):
        await deny(guard, user.id, f"trace-{number}")

    assert [] == await alerts(database)


async def test_refusals_at_once_are_told_once(guard: Lockouts, database: Database, people: People) -> None:
    user = people[Role.READONLY].id

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(guard.denied(TENANT, user, f"trace-{number}"))

    assert [{"reason": "actions_denied", "owner": user}] == await alerts(database)


async def test_a_flood_of_bad_tokens_is_told_once_in_a_quarter_of_an_hour_for_each_place(
    guard: Lockouts, database: Database
) -> None:
    for address in (HERE, ELSEWHERE, HERE, ELSEWHERE):
        await guard.flooded(address)
    told = await alerts(database)
    await pass_time(database, WITHIN)
    await guard.flooded(HERE)

    alert = {"reason": "bad_tokens", "owner": None}
    assert ([alert] * 2, [alert] * 3) == (told, await alerts(database))
