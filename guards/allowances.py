"""How often one may: rates, the buckets a call counts against, and what is left of them as clients are told it.

Nothing here counts; that is `guards.rates`.
"""

import hashlib
from enum import StrEnum
from math import ceil
from typing import Final
from uuid import UUID

import msgspec

from db.levels import Algorithm
from guards import networks

BURST_WINDOW_S: Final = 10
"""Twice the ordinary pace for ten seconds: of a limit L a minute, at most a third of it (rounded up) in any ten."""

CRITICAL_NAMES: Final = ("system.", "queue.clear")
CRITICAL_PER_MINUTE: Final = 10
"""What takes something away for good and may be done no oftener than this is counted where nothing forgets."""


class Rate(msgspec.Struct, frozen=True):
    """A limit."""

    limit: int
    """Units in one window."""

    window_s: int = 60
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    critical: bool = False
    """Counted in PostgreSQL, whatever becomes of Redis; always as a sliding window."""


class Bucket(msgspec.Struct, frozen=True):
    """One limit of one caller, and how much of it a call wants."""

    key: str
    """Who and what is counted; never an address or a token as it is."""

    name: str
    """The policy, as clients are told it."""

    rate: Rate
    units: int = 1
    everywhere: bool = False
    """Counted over all tenants together, for those who are not signed in to one; nothing critical is."""


class Left(msgspec.Struct, frozen=True):
    """What is left of one bucket."""

    name: str
    limit: int
    window_s: int
    remaining: int
    reset_s: float
    """In how long there is more than now; 0 when nothing is used."""


class Spent(msgspec.Struct, frozen=True):
    """What a call has counted against, and what is left there."""

    left: tuple[Left, ...]
    degraded: bool = False
    """Whether it was counted by this process alone, for want of Redis."""

    ticket: str = ""
    """Under which it may be given back."""

    def headers(self) -> dict[str, str]:
        """The same as `RateLimit-Policy` and `RateLimit`; none without a bucket."""
        if not self.left:
            return {}
        mark = ";degraded" if self.degraded else ""
        policies = (f'"{left.name}";q={left.limit};w={left.window_s}{mark}' for left in self.left)
        levels = (f'"{left.name}";r={left.remaining};t={ceil(left.reset_s)}' for left in self.left)
        return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(levels)}


class Class(StrEnum):
    """Who asks for what, as the limits tell them apart."""

    PUBLIC = "public"
    """Anybody, by address."""

    USER = "user"
    ADMIN_READ = "admin-read"
    ADMIN_ACTION = "admin-action"

    WATCH = "watch"
    """What is watched, whoever does: a page that was cut off begins all that it watches anew, at once."""

    @property
    def per_minute(self) -> int:
        """How often one caller of this class may."""
        return _PER_MINUTE[self]

    def buckets(self, who: str, units: int = 1) -> tuple[Bucket, Bucket]:
        """Both limits of the class: the one a minute, and the one that keeps it from being used up at once.

        Args:
            who: `of_address` for the public, `of_user` for the others.
        """
        key, shared = f"{self}:{who}", self is Class.PUBLIC
        burst = Rate(ceil(self.per_minute / 3), BURST_WINDOW_S)
        return (
            Bucket(key, self.value, Rate(self.per_minute), units, shared),
            Bucket(f"{key}:burst", f"{self}-burst", burst, units, shared),
        )


_PER_MINUTE: Final = {
    Class.PUBLIC: 10,
    Class.USER: 100,
    Class.ADMIN_READ: 500,
    Class.ADMIN_ACTION: 50,
    Class.WATCH: 600,
}


def of_user(user_id: UUID) -> str:
    """A user in the key of a bucket."""
    return f"user:{user_id}"


def of_address(address: str) -> str:
    """Where a call comes from in the key of a bucket: its neighbourhood, hashed."""
    return f"net:{hashlib.sha256(networks.neighbourhood(address).encode()).hexdigest()[:32]}"


def of_action(user_id: UUID, name: str, per_minute: int, *, destructive: bool = False, units: int = 1) -> Bucket:
    """The limit of one action for one user."""
    critical = name.startswith(CRITICAL_NAMES) or (destructive and per_minute <= CRITICAL_PER_MINUTE)
    return Bucket(f"action:{name}:{of_user(user_id)}", name, Rate(per_minute, critical=critical), units)


def of_denials(user_id: UUID) -> Bucket:
    """How many refusals of one user are put on record a minute; beyond it they are told to wait, and nothing is."""
    return Bucket(f"denials:{of_user(user_id)}", "denials", Rate(20))


def of_bad_tokens(address: str) -> Bucket:
    """How often tokens that are not good may come from one place; a page whose token has run out asks for a lot."""
    return Bucket(f"tokens:{of_address(address)}", "bad-token", Rate(60), everywhere=True)


def of_new_sockets(address: str) -> Bucket:
    """How many legacy sockets may be opened from one place; a page that was cut off tries again a few times."""
    return Bucket(f"sockets:{of_address(address)}", "new-sockets", Rate(120), everywhere=True)


def merged(buckets: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
    """The same with one bucket for each that is there several times, wanting what they want together."""
    found: dict[tuple[str, bool, Rate], Bucket] = {}
    for bucket in buckets:
        key = bucket.key, bucket.everywhere, bucket.rate
        same = found.get(key)
        found[key] = bucket if same is None else msgspec.structs.replace(same, units=same.units + bucket.units)
    return tuple(found.values())
