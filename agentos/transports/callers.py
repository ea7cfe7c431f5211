"""Who calls: the token of a request or a socket, verified once, and its user asked for every few seconds.

A verified token is remembered until it expires; whether its user was signed out, locked or given another role meanwhile
is read from PostgreSQL at most four seconds ago, on HTTP and on open sockets alike. PostgreSQL away: who was seen less
than four seconds ago is let through, everybody else is refused with `Unavailable`.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from db import users
from db.database import Database, DatabaseUnavailable, Transaction
from guards.callers import Caller
from guards.errors import Unauthenticated, Unavailable
from guards.tokens import Tokens

FRESH_S: Final = 4.0
REMEMBERED: Final = 10_000
SCHEME: Final = "bearer"

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


class Callers:
    """Knows callers by their tokens; one object for a process."""

    def __init__(
        self,
        tokens: Tokens,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._verified: OrderedDict[bytes, Caller] = OrderedDict()
        self._asking: dict[tuple[str, UUID], asyncio.Future[Unavailable | None]] = {}
        """Whose version is being read just now; those who need the same wait for it, and for a refusal as well."""

        self._versions: OrderedDict[tuple[str, UUID], tuple[float, int | None]] = OrderedDict()

    async def of(self, headers: Mapping[str, str]) -> Caller | None:
        """Who sends these headers, or None without an `Authorization` among them.

        Raises:
            Unauthenticated: the token is not good (any more).
            Unavailable: whether it still is cannot be told just now.
        """
        authorization = headers.get("authorization")
        return None if authorization is None else await self.holding(authorization)

    async def holding(self, authorization: str) -> Caller:
        """Who an `Authorization` of the form `Bearer …` speaks for.

        Raises:
            Unauthenticated: the token is not good (any more).
            Unavailable: whether it still is cannot be told just now.
        """
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != SCHEME or not token.strip():
            raise Unauthenticated("send an access token as `Authorization: Bearer …`")
        caller = self._verify(token.strip())
        await self.stand(caller)
        return caller

    async def stand(self, caller: Caller) -> None:
        """Make sure that a caller is still who they were.

        Raises:
            Unauthenticated: the token has expired, or the user signed out, was locked or was changed.
            Unavailable: it cannot be told just now.
        """
        if await self._version(caller) != caller.token_version:
            raise Unauthenticated("the access token was revoked: sign in again")

    async def fallen(self, callers: Collection[Caller]) -> list[Caller]:
        """Those of several who are no longer who they were, asked for with one statement for each tenant.

        Raises:
            Unavailable: it cannot be told just now.
        """
        tenants: defaultdict[str, set[UUID]] = defaultdict(set)
        for caller in callers:
            tenants[caller.tenant].add(caller.user_id)
        known: dict[tuple[str, UUID], int | None] = {}
        for tenant, ids in tenants.items():
            asked_at = self._monotonic()
            versions = await self._asked(tenant, partial(users.token_versions, ids=ids))
            for user_id in ids:
                known[tenant, user_id] = versions.get(user_id)
                _remember(self._versions, (tenant, user_id), (asked_at, versions.get(user_id)))
        return [caller for caller in callers if known[caller.tenant, caller.user_id] != caller.token_version]

    def expired(self, caller: Caller) -> bool:
        """Whether a caller's token has run out."""
        return self._clock() >= caller.expires_at

    def _verify(self, token: str) -> Caller:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is not None and not self.expired(known):
            return known
        caller = self._tokens.verified(token)
        _remember(self._verified, digest, caller)
        return caller

    async def _version(self, caller: Caller) -> int | None:
        key = caller.tenant, caller.user_id
        # Looked at anew after each wait: who had asked may have gone before there was an answer.
        while True:
            seen = self._versions.get(key)
            # Its age counts from before the question: an answer that took long is older than it looks.
            asked_at = self._monotonic()
            if seen is not None and asked_at - seen[0] < FRESH_S:
                return seen[1]
            asking = self._asking.get(key)
            if asking is None:
                break
            await asyncio.wait((asking,))
            if not asking.cancelled() and (refusal := asking.result()) is not None:
                raise refusal
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            version = await self._asked(caller.tenant, partial(users.token_version, user_id=caller.user_id))
        except Unavailable as refusal:
            asking.set_result(refusal)
            raise
        else:
            _remember(self._versions, key, (asked_at, version))
            asking.set_result(None)
            return version
        finally:
            # Without an answer by now, whoever asked is gone: the next one asks.
            asking.cancel()
            del self._asking[key]

    async def _asked(self, tenant: str, ask: Callable[[Transaction], Awaitable[T]]) -> T:
        try:
            async with self._database.transaction(tenant) as tx:
                return await ask(tx)
        except DatabaseUnavailable as error:
            raise Unavailable("who you are cannot be checked just now: try again", retry_after=1) from error


def _remember(store: OrderedDict[K, V], key: K, value: V) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > REMEMBERED:
        store.popitem(last=False)
