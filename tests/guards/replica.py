"""A process that charges calls as a server does: `python -m tests.guards.replica KEY SKEW_S`.

It says `ready`, and for each `KIND LIMIT WINDOW_S CALLS` on its standard input how many of so many calls at once it let
through.
"""

import asyncio
import sys
import time
from itertools import count

from db.database import Database
from db.redis import Redis, connect
from guards.allowances import Bucket, Rate
from guards.errors import RateLimited
from guards.rates import Rates

TENANT = "default"


async def naive(redis: Redis, key: str, limit: int, window_s: int, member: str) -> bool:
    """As it is often done: by the process's own clock, looked at first and counted then."""
    now = time.time()
    await redis.zremrangebyscore(key, "-inf", now - window_s)
    if await redis.zcard(key) >= limit:
        return False
    await redis.zadd(key, {member: now})
    return True


async def charged(rates: Rates, bucket: Bucket) -> bool:
    """Whether a call was let through."""
    try:
        await rates.charge(TENANT, [bucket])
    except RateLimited:
        return False
    return True


async def main(key: str, skew_s: float) -> None:
    """Charge as many calls at once as each line says, in the way, with the limit and in the window that it says."""
    database_url, redis_url = sys.stdin.readline().split()
    # Room and time for all calls at once: who is refused a connection is not refused for the limit.
    database, redis = Database.connect(database_url, size=12), connect(redis_url, answer_timeout_s=30)
    rates = Rates(redis, database)
    number = count()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        kind, limit, window, calls = line.split()
        window_s = int(window)
        bucket = Bucket(f"{key}:{kind}", kind, Rate(int(limit), window_s, critical=kind == "critical"))
        if kind == "naive":
            made = [naive(redis, key, int(limit), window_s, f"{skew_s}-{next(number)}") for _ in range(int(calls))]
        else:
            made = [charged(rates, bucket) for _ in range(int(calls))]
        print(sum(await asyncio.gather(*made)), flush=True)
    await redis.aclose()
    await database.close()


def skewed(by_s: float) -> None:
    """Have every clock of this process be wrong by so much."""
    real, monotonic = time.time, time.monotonic
    time.time = lambda: real() + by_s
    time.monotonic = lambda: monotonic() + by_s


if __name__ == "__main__":
    key, skew_s = sys.argv[1:]
    skewed(float(skew_s))
    asyncio.run(main(key, float(skew_s)))
