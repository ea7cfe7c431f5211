"""What is asked for twice is done once: whatever crashes, however it is written, whoever forgets."""

import asyncio
import hashlib
import os
import random
import signal
import sys
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from db.database import Database, Transaction
from db.events import Kind
from db.models.audit import audit
from db.models.records import events, system_events
from db.redis import Redis
from guards.chain import Answered
from guards.errors import BadInput, InProgress
from guards.replays import fingerprint, require_key
from resolvers.actions.contract import Payload
from resolvers.context import Services
from tests.guards.lives import effect, key_of
from tests.trails import entry
from tests.uploading import services_over

PATIENCE_S = 60.0
CLIENTS, KEYS, CRASHES = 6, 50, 0.3


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


class Crash(BaseException):
    """The process ends between the effect and the commit; nobody catches this."""


async def effects(database: Database) -> Counter[str]:
    """How often each key's effect is there."""
    async with database.transaction("default") as tx:
        return Counter(text for (text,) in await tx.rows(sa.select(system_events.c.message)))


async def told(database: Database) -> Counter[str]:
    """How many events there are of each key."""
    async with database.system() as tx:
        telling = sa.select(events.c.entity_id).where(events.c.kind == Kind.QUEUE_CHANGED)
        return Counter(text for (text,) in await tx.rows(telling))


async def recorded(database: Database, key: str) -> int:
    """How often a key is on record as done."""
    digest = hashlib.sha256(key.encode()).digest()
    async with database.transaction("default") as tx:
        return int(
            await tx.scalar(sa.select(sa.func.count()).where(audit.c.key_hash == digest, audit.c.outcome == "done"))
        )


Attempt = Callable[[str, random.Random], Awaitable[str]]


async def hammered(attempt: Attempt) -> set[str]:
    """What clients are answered who ask for the same things at once, each until it gets an answer."""
    answers: set[str] = set()

    async def client(seed: int) -> None:
        dice = random.Random(seed)
        for number in range(KEYS):
            answer = ""
            while answer != "ok":
                try:
                    answer = await attempt(f"key-number-{number:05}", dice)
                except Crash:
                    answer = "crashed"
                answers.add(answer)

    async with asyncio.TaskGroup() as group:
        for seed in range(CLIENTS):
            group.create_task(client(seed))
    return answers


async def test_fifty_keys_from_six_clients_with_crashes_are_done_once_each(
    services: Services, database: Database
) -> None:
    async def attempt(text: str, dice: random.Random) -> str:
        async def carried(tx: Transaction) -> Answered:
            answer = await effect(tx, text)
            if dice.random() < CRASHES:
                raise Crash
            return Answered(answer)

        try:
            await services.chain.admit(entry(actor=None, key=text), carried, key=key_of(text))
        except InProgress as refusal:
            return f"{refusal.code} {refusal.retry_after}"
        return "ok"

    answers = await hammered(attempt)

    once = {f"key-number-{number:05}": 1 for number in range(KEYS)}
    assert {"ok", "crashed"} <= answers <= {"ok", "crashed", "IDEMPOTENCY_IN_PROGRESS 1"}
    assert once == await effects(database)
    assert once == await told(database)
    assert once == {text: await recorded(database, text) for text in once}


async def test_checking_first_and_remembering_afterwards_in_redis_does_them_again(
    database: Database, redis: Redis
) -> None:
    async def attempt(text: str, dice: random.Random) -> str:
        if await redis.get(text) is not None:
            return "ok"
        async with database.transaction("default") as tx:
            await effect(tx, text)
        if dice.random() < CRASHES:
            raise Crash
        await redis.set(text, "ok")
        return "ok"

    await hammered(attempt)

    assert KEYS == len(await effects(database))
    assert KEYS < (await effects(database)).total()


class Lives:
    """A server process, whose lives are given and taken."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._living: int | None = None

    async def heard(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().strip()

    async def call(self, text: str, *, kind: str = "chain", skew_s: float = 0, killed_after: int | None = None) -> str:
        """How a call ended, as far as it got.

        Args:
            killed_after: turns of this loop that its process has from the effect on; it takes some round trips more.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {text} {skew_s}\n".encode())
        self._living = int((await self.heard()).removeprefix("born "))
        ended = ""
        while (line := await self.heard()) != "gone":
            if line.startswith("ended"):
                ended = line.removeprefix("ended ")
                self.take()
            elif line == "inside" and killed_after is not None:
                for _ in range(killed_after):
                    await asyncio.sleep(0)
                self.take()
        return ended

    def take(self) -> None:
        """Take the life that is being lived, if any."""
        if self._living is not None:
            os.kill(self._living, signal.SIGKILL)
            self._living = None


@asynccontextmanager
async def server(database_url: str, redis_url: str) -> AsyncIterator[Lives]:
    """A process that carries out actions; it is killed if it outlives the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.guards.lives", database_url, redis_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lives = Lives(process)
    try:
        assert "ready" == await lives.heard()
        yield lives
    finally:
        lives.take()
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


async def answered(lives: Lives, text: str, **given: Any) -> str:
    """How a call ended that is repeated while the first one is still being carried out."""
    async with asyncio.timeout(PATIENCE_S):
        while (ended := await lives.call(text, **given)) == "IDEMPOTENCY_IN_PROGRESS":
            pass
    return ended


@pytest.mark.slow
async def test_a_server_that_is_killed_while_it_commits_has_done_each_thing_once_after_all(
    database: Database, database_url: str, redis_url: str
) -> None:
    keys = [f"killed-number-{number:03}" for number in range(12)]
    again: Counter[str] = Counter()
    async with server(database_url, redis_url) as lives:
        for number, text in enumerate(keys):
            # From at once to after its end, when it had nobody left to tell. However late a blow falls, the first one
            # comes before the commit.
            kind = "chain" if number else "held"
            await lives.call(text, kind=kind, killed_after=300 * number if number < 9 else None)
            again[await answered(lives, text)] += 1

    once = dict.fromkeys(keys, 1)
    assert {"done", "replayed"} == again.keys()
    assert once == await effects(database)
    assert once == await told(database)
    assert once == {text: await recorded(database, text) for text in keys}


@pytest.mark.slow
async def test_a_server_that_remembers_in_another_store_does_things_twice_when_it_is_killed(
    database: Database, database_url: str, redis_url: str
) -> None:
    async with server(database_url, redis_url) as lives:
        assert "" == await lives.call("killed-and-naive", kind="stalled", killed_after=0)
        assert "done" == await lives.call("killed-and-naive", kind="naive")

    assert {"killed-and-naive": 2} == await effects(database)


@pytest.mark.slow
async def test_two_servers_of_which_one_is_two_hours_ahead_do_a_thing_once(
    database: Database, database_url: str, redis_url: str
) -> None:
    keys = [f"skewed-number-{number:03}" for number in range(5)]
    async with server(database_url, redis_url) as here, server(database_url, redis_url) as ahead:
        for text in keys:
            both = await asyncio.gather(answered(here, text), answered(ahead, text, skew_s=7_200))
            assert ["done", "replayed"] == sorted(str(ended) for ended in both)
            assert "replayed" == await answered(ahead, text, skew_s=100_000)

    assert dict.fromkeys(keys, 1) == await effects(database)


class Sample(Payload, frozen=True, kw_only=True):
    """Something of every kind that payloads are made of."""

    name: str
    count: int = 5
    ratio: float = 1.0
    at: datetime | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


LEAVES = st.sampled_from((0, 1, 1.0, 1.5, -0.0, True, False, None, "", "1", "é", "e\u0301", 10**30))
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "é", "e\u0301")), inner, max_size=3)
    ),
    max_leaves=6,
)
MOMENTS = st.sampled_from(
    (
        None,
        datetime(2026, 1, 1, 12, tzinfo=UTC),
        datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 1, 13, tzinfo=UTC),
    )
)
SAMPLES = st.fixed_dictionaries(
    {"name": st.sampled_from(("é", "e\u0301", "e"))},
    optional={
        "count": st.sampled_from((5, 6)),
        "ratio": st.sampled_from((1, 1.0, 2.5)),
        "at": MOMENTS.map(lambda at: None if at is None else at.isoformat()),
        "tags": st.lists(st.sampled_from(("x", "y")), max_size=2),
        "extra": st.dictionaries(st.sampled_from(("a", "b")), JSON, max_size=2),
    },
)


def taken(given: dict[str, Any]) -> bytes:
    return fingerprint("job.cancel", msgspec.convert(given, type=Sample))


def meaning(value: Any) -> Any:
    """What a value means, so that two are equal when they are the same as JSON; told apart by type otherwise."""
    match value:
        case bool() | None:
            return repr(value)
        case int() | float():
            return ("number", float(value))
        case str():
            return ("text", unicodedata.normalize("NFC", value))
        case list():
            return ("list", tuple(map(meaning, value)))
    names = {unicodedata.normalize("NFC", name) for name in value}
    folded = len(names) == len(value)
    return frozenset((meaning(name) if folded else name, meaning(each)) for name, each in value.items())


def sample_meaning(given: dict[str, Any]) -> Any:
    whole: dict[str, Any] = {"count": 5, "ratio": 1.0, "tags": [], "extra": {}, "at": None} | given
    at = None if whole["at"] is None else datetime.fromisoformat(whole["at"])
    rest = tuple(meaning(whole[name]) for name in ("name", "count", "ratio", "tags", "extra"))
    return (at, *rest)


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same value written in another way."""
    match value:
        case dict():
            names = list(value)
            dice.shuffle(names)
            return {name: shuffled(value[name], dice) for name in names}
        case list():
            return [shuffled(each, dice) for each in value]
        case str():
            return unicodedata.normalize(dice.choice(("NFC", "NFD")), value)
        case bool():
            return value
        case int() if abs(value) < 2**50:
            return dice.choice((value, float(value)))
    return value


DERANDOMIZED = settings(max_examples=300, derandomize=True, database=None)


@DERANDOMIZED
@given(SAMPLES, st.integers(0, 2**20))
def test_however_a_payload_is_written_it_is_the_same_call(given_: dict[str, Any], seed: int) -> None:
    again = shuffled(given_ | {"extra": given_.get("extra", {})}, random.Random(seed)) | {
        name: given_[name] for name in ("count", "at") if name in given_
    }
    for name, default in (("count", 5), ("tags", []), ("ratio", 1)):
        again.setdefault(name, default)

    assert sample_meaning(given_) == sample_meaning(again)
    assert taken(given_) == taken(again)


@DERANDOMIZED
@given(SAMPLES, SAMPLES)
def test_two_payloads_are_the_same_call_just_when_they_mean_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (sample_meaning(one) == sample_meaning(other)) is (taken(one) == taken(other))


@DERANDOMIZED
@given(JSON, JSON)
def test_two_json_values_are_the_same_just_when_they_mean_the_same(one: Any, other: Any) -> None:
    pair = [taken({"name": "e", "extra": {"a": each}}) for each in (one, other)]

    assert (meaning(one) == meaning(other)) is (pair[0] == pair[1])


def test_a_fingerprint_of_the_text_would_take_one_call_for_two() -> None:
    one, other = b'{"name":"e","count":5}', b'{"count":5, "name":"e"}'

    assert hashlib.sha256(one).digest() != hashlib.sha256(other).digest()
    assert taken(msgspec.json.decode(one)) == taken(msgspec.json.decode(other))


def test_another_action_is_another_call() -> None:
    payload = Sample(name="e")

    assert fingerprint("job.cancel", payload) != fingerprint("job.delete", payload)


@pytest.mark.parametrize("text", ["a" * 16, "A-_9" * 32, "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_a_key_is_of_letters_digits_and_dashes(text: str) -> None:
    assert text == require_key(text)


@pytest.mark.parametrize("text", ["", "a" * 15, "a" * 129, "a" * 15 + "é", "a" * 15 + " ", "a" * 16 + "\n", "٣" * 16])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        require_key(text)
