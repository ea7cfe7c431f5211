"""A process that carries out actions as a server does, each in a life of its own that lasts until it is taken.

`python -m tests.guards.lives DATABASE_URL REDIS_URL` reads lines `KIND KEY SKEW_S`. Of each life it says `born PID`,
`inside` when the effect is written and not yet committed, how it `ended`, and `gone` once the process is no more.
"""

import asyncio
import hashlib
import os
import signal
import sys
import time
from uuid import UUID

from db import events, system_events
from db.database import Database, Transaction
from db.events import Kind
from db.models.records import Severity
from db.redis import connect
from guards.audit import Audit
from guards.breakers import Breakers
from guards.chain import Answered, Chain
from guards.errors import Refusal
from guards.replays import Key, Replays
from tests.trails import entry, seals

WHO = UUID(int=7)


def say(text: str) -> None:
    print(text, flush=True)


def key_of(text: str) -> Key:
    """The key of the one call that is ever made under it."""
    return Key(principal=WHO, text=text, action="job.cancel", fingerprint=hashlib.sha256(text.encode()).digest())


async def effect(tx: Transaction, text: str) -> bytes:
    """A row and an event that bear the key."""
    await system_events.record(tx, "tried", Severity.INFO, "test", text)
    await events.record(tx, Kind.QUEUE_CHANGED, text, {})
    return b'{"done":true}'


async def act(database: Database, text: str, *, held: bool) -> str:
    """Carry out the action of a key through the chain, or come no further than to its commit."""

    async def carried(tx: Transaction) -> Answered:
        answer = await effect(tx, text)
        say("inside")
        if held:
            await asyncio.Event().wait()
        return Answered(answer)

    chain = Chain(database, Replays(), Audit(database, seals()), Breakers(database))
    try:
        done = await chain.admit(entry(actor=None, key=text), carried, key=key_of(text))
    except Refusal as refusal:
        return refusal.code
    return "replayed" if done.replayed else "done"


async def naive(database: Database, redis_url: str, text: str, *, stalled: bool) -> str:
    """As it is often done: looked up in Redis, carried out, and remembered in Redis, if it comes to that."""
    async with connect(redis_url, answer_timeout_s=30) as redis:
        if await redis.get(text) is not None:
            return "replayed"
        async with database.transaction("default") as tx:
            await effect(tx, text)
        say("inside")
        if stalled:
            await asyncio.Event().wait()
        await redis.set(text, "done")
    return "done"


async def live(database_url: str, redis_url: str, kind: str, text: str) -> None:
    database = Database.connect(database_url, size=2)
    if kind in ("chain", "held"):
        ended = await act(database, text, held=kind == "held")
    else:
        ended = await naive(database, redis_url, text, stalled=kind == "stalled")
    say(f"ended {ended}")
    await database.close()


def skewed(by_s: float) -> None:
    """Have every clock of this process be wrong by so much."""
    real = time.time
    time.time = lambda: real() + by_s


def main(database_url: str, redis_url: str) -> None:
    """Give a life to each line."""
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        kind, text, skew_s = line.split()
        child = os.fork()
        if not child:
            say(f"born {os.getpid()}")
            skewed(float(skew_s))
            asyncio.run(live(database_url, redis_url, kind, text))
            # Whoever takes it can be sure that the number is still its own.
            signal.pause()
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    main(*sys.argv[1:])
