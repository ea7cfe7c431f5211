"""Counting calls in a store: in Redis by one script for all of a call's counters, in PostgreSQL by locked rows.

Either takes all that a call wants or nothing, by the store's own clock, so any number of processes count as one.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from db.database import Transaction
from db.levels import Counter, Level, sliding
from db.lines import Line, Script
from db.models.calls import calls
from db.rows import Row

# Redis answers whole numbers only, and none of these is beyond 2^53. `ARGV`: what to do, the name that this call's
# members have, and for each key its algorithm, limit, window and units.
_SCRIPT: Final = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local charging, name = ARGV[1] == 'charge', ARGV[2]
local whole = function(number) return string.format('%.0f', number) end
local ways = {}

ways.sliding_window = {
  look = function(key, limit, window, units)
    local since = '(' .. whole(now - window)
    local used = redis.call('ZCOUNT', key, since, '+inf')
    local back = function(place)
      local found = redis.call('ZRANGEBYSCORE', key, since, '+inf', 'WITHSCORES', 'LIMIT', place - 1, 1)
      return tonumber(found[2]) + window - now
    end
    local over = used + units - limit
    local wait = 0
    if over > 0 then wait = units <= limit and back(over) or -1 end
    return over <= 0, math.max(limit - used, 0), used > 0 and back(1) or 0, wait
  end,
  take = function(key, limit, window, units)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now - window))
    for unit = 1, units do redis.call('ZADD', key, whole(now), name .. ':' .. unit) end
    redis.call('PEXPIRE', key, whole(math.ceil(window / 1000) + 1))
  end,
  give = function(key, limit, window, units)
    for unit = 1, units do redis.call('ZREM', key, name .. ':' .. unit) end
  end,
}

local level_of = function(key, limit, window)
  local found = redis.call('HMGET', key, 'level', 'at')
  if not found[1] then return limit * window end
  local since = math.min(math.max(now - tonumber(found[2]), 0), window)
  return math.min(tonumber(found[1]) + since * limit, limit * window)
end
local set_level = function(key, limit, window, level)
  redis.call('HSET', key, 'level', whole(level), 'at', whole(now))
  redis.call('PEXPIRE', key, whole(math.ceil((limit * window - level) / limit / 1000) + 1))
end

ways.token_bucket = {
  look = function(key, limit, window, units)
    local level = level_of(key, limit, window)
    local short = units * window - level
    local full = math.floor(level / window)
    local reset = full < limit and math.ceil(((full + 1) * window - level) / limit) or 0
    local wait = 0
    if short > 0 then wait = units <= limit and math.ceil(short / limit) or -1 end
    return short <= 0, full, reset, wait
  end,
  take = function(key, limit, window, units)
    set_level(key, limit, window, level_of(key, limit, window) - units * window)
  end,
  give = function(key, limit, window, units)
    set_level(key, limit, window, math.min(level_of(key, limit, window) + units * window, limit * window))
  end,
}

local count_of = function(key, window)
  local found = redis.call('HMGET', key, 'window', 'count')
  return found[1] == whole(math.floor(now / window)) and tonumber(found[2]) or 0
end
local set_count = function(key, window, count)
  redis.call('HSET', key, 'window', whole(math.floor(now / window)), 'count', whole(count))
  redis.call('PEXPIRE', key, whole(math.ceil((window - now % window) / 1000) + 1))
end

ways.fixed_window = {
  look = function(key, limit, window, units)
    local count = count_of(key, window)
    local ends = window - now % window
    local fits = count + units <= limit
    local wait = 0
    if not fits then wait = units <= limit and ends or -1 end
    return fits, math.max(limit - count, 0), count > 0 and ends or 0, wait
  end,
  take = function(key, limit, window, units) set_count(key, window, count_of(key, window) + units) end,
  give = function(key, limit, window, units) set_count(key, window, math.max(count_of(key, window) - units, 0)) end,
}

local each = function(run)
  for i, key in ipairs(KEYS) do
    local at = i * 4 - 1
    run(ways[ARGV[at]], key, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
  end
end
local seen = function()
  local fits, levels = true, {}
  each(function(way, ...)
    local fit, remaining, reset, wait = way.look(...)
    fits = fits and fit
    for _, number in ipairs({fit and 1 or 0, remaining, reset, wait}) do table.insert(levels, number) end
  end)
  return fits, levels
end

if ARGV[1] == 'give' then each(function(way, ...) way.give(...) end) end
local fits, levels = seen()
local taken = charging and fits
if taken then
  each(function(way, ...) way.take(...) end)
  -- What is left is told as it is now; that it did fit is known.
  local _, after = seen()
  for i = 1, #after, 4 do after[i], after[i + 3] = 1, 0 end
  levels = after
end
return {taken and 1 or 0, now, levels}
"""
)


class Reading(Row, frozen=True):
    """How the counters of a call stand, after it was counted or refused."""

    taken: bool
    """Whether the call was counted, on all of its counters."""

    at_us: int
    """The store's time, microseconds since the epoch."""

    levels: tuple[Level, ...]
    """In the order of the counters."""


async def charge(line: Line, name: str, counters: Sequence[Counter]) -> Reading:
    """Count a call in Redis on all of its counters, or on none when one of them has no room for it.

    Args:
        name: unique to this call; what it took can be given back under it.
    """
    return await _run(line, "charge", name, counters)


async def look(line: Line, counters: Sequence[Counter]) -> Reading:
    """How counters in Redis stand."""
    return await _run(line, "look", "", counters)


async def give_back(line: Line, name: str, counters: Sequence[Counter]) -> Reading:
    """Take off counters in Redis what the call of that name, or some of it, had put on them."""
    return await _run(line, "give", name, counters)


async def _run(line: Line, what: str, name: str, counters: Sequence[Counter]) -> Reading:
    arguments: list[str | int] = [what, name]
    for counter in counters:
        arguments += counter.algorithm.value, counter.limit, counter.window_us, counter.units
    taken, at, numbers = await line.run(_SCRIPT, [counter.key for counter in counters], arguments)
    levels = (numbers[i : i + 4] for i in range(0, len(numbers), 4))
    return Reading(
        bool(taken),
        at,
        tuple(Level(bool(fits), left, reset, None if wait < 0 else wait) for fits, left, reset, wait in levels),
    )


_MICROSECONDS: Final = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger())

# In the order of the keys, so that two calls never wait for each other; the time is read once a row is held.
_HELD: Final = sa.text(
    "INSERT INTO calls (tenant_id, key) SELECT :tenant, key FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key "
    "ON CONFLICT (tenant_id, key) DO UPDATE SET key = excluded.key "
    "RETURNING key, taken, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
)
_COUNT: Final = (
    sa.update(calls)
    .where(calls.c.tenant_id == sa.bindparam("whose"), calls.c.key == sa.bindparam("counter"))
    .values(taken=sa.bindparam("now_taken"), changed_at=sa.func.now())
)


async def charge_critical(tx: Transaction, counters: Sequence[Counter]) -> Reading:
    """Count a call in the transaction's tenant on all of its counters, or on none; always as a sliding window.

    Until the transaction ends nobody else counts on them.
    """
    rows = await tx.rows(_HELD, {"tenant": tx.tenant, "keys": [counter.key for counter in counters]})
    taken = {key: found for key, found, _ in rows}
    now = max(at for _, _, at in rows)
    levels = [sliding(taken[counter.key], now, counter) for counter in counters]
    if not all(level.fits for level in levels):
        return Reading(False, now, tuple(levels))
    after = {
        counter.key: [*(at for at in taken[counter.key] if at > now - counter.window_us), *[now] * counter.units]
        for counter in counters
    }
    await tx.execute(
        _COUNT, [{"whose": tx.tenant, "counter": key, "now_taken": moments} for key, moments in after.items()]
    )
    left = (sliding(after[counter.key], now, counter) for counter in counters)
    return Reading(True, now, tuple(Level(True, level.remaining, level.reset_us, 0) for level in left))


async def look_critical(tx: Transaction, counters: Sequence[Counter]) -> Reading:
    """How counters of the transaction's tenant stand."""
    now: int = await tx.scalar(sa.select(_MICROSECONDS))
    wanted = sa.select(calls.c.key, calls.c.taken).where(calls.c.key.in_([counter.key for counter in counters]))
    taken = {key: found for key, found in await tx.rows(wanted)}
    return Reading(False, now, tuple(sliding(taken.get(counter.key, ()), now, counter) for counter in counters))
