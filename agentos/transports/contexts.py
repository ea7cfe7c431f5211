"""From a request or a socket to the context its operations run in, made afresh for each."""

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request

from agentos.transports.callers import Callers
from db.health import DATABASE_FAILED
from guards.allowances import of_bad_tokens
from guards.callers import Caller
from guards.errors import BadInput, RateLimited, Unauthenticated
from resolvers.context import Context, Services

LONGEST_AGENT: Final = 300
KEY_HEADERS: Final = ("idempotency-key", "x-idempotency-key")
COOKIE: Final = "agentos_token"
"""Under which a browser holds a token for what it can send no header with."""

TOKENS_IN_ADDRESS: Final = frozenset({"token", "access_token", "authorization", "jwt"})
ALARM_EVERY_S: Final = 10.0

log = logging.getLogger(__name__)


class Contexts:
    """Makes contexts; one object for a process."""

    def __init__(self, services: Services, callers: Callers) -> None:
        self._services = services
        self._callers = callers
        self._quiet_until = 0.0

    async def identify(self, request: Request) -> Context:
        """The context of a request, once its caller is known.

        Raises:
            BadInput: it brings several tokens, or idempotency keys that differ.
            Unauthenticated: it brings a token that is not good (any more).
            RateLimited: so did too many others from the same place.
            Unavailable: whether it still is cannot be told just now.
        """
        presented(request.headers)
        try:
            caller = await self._callers.of(request.headers)
        except Unauthenticated:
            await self._count(request)
            raise
        return self.of(request, caller)

    async def holding(self, connection: HTTPConnection, authorization: str) -> Caller:
        """Who an `Authorization` of the form `Bearer …` speaks for.

        Raises:
            Unauthenticated: the token is not good (any more).
            RateLimited: so were too many others from the same place.
            Unavailable: whether it still is cannot be told just now.
        """
        try:
            return await self._callers.holding(authorization)
        except Unauthenticated:
            await self._count(connection)
            raise

    async def _count(self, connection: HTTPConnection) -> None:
        """Count a token that turned out not to be good, so that nobody tries them out."""
        address = _address(connection)
        try:
            await self._services.rates.charge("", (of_bad_tokens(address),))
        except RateLimited:
            await self._alarm(address)
            raise

    async def _alarm(self, address: str) -> None:
        """Have somebody told, but not asked whether they are at every request of a flood."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + ALARM_EVERY_S
        try:
            await self._services.lockouts.flooded(address)
        except DATABASE_FAILED as error:
            log.warning("nobody could be told of a flood of bad tokens: %s", error)

    def of(self, connection: HTTPConnection, viewer: Caller | None) -> Context:
        """The context of one operation, with loaders that have read nothing yet."""
        return Context.made(
            self._services,
            viewer,
            trace_id=connection.state.trace_id,
            address=_address(connection),
            user_agent=connection.headers.get("user-agent", "")[:LONGEST_AGENT],
            # The headers of a socket are those of its handshake, which all of its operations share.
            idempotency_key=_key(connection.headers) if connection.scope["type"] == "http" else None,
        )


def presented(headers: Headers) -> str | None:
    """The `Authorization` among the headers of a request or a handshake.

    Raises:
        BadInput: there are several; a proxy before this server may have believed another one of them.
    """
    found = headers.getlist("authorization")
    if len(found) > 1:
        raise BadInput("Authorization: send one of them")
    return found[0] if found else None


def in_cookie(connection: HTTPConnection) -> str | None:
    """The `Authorization` that a cookie stands for, if there is one; whether it counts is the caller's to say."""
    token = connection.cookies.get(COOKIE)
    return None if token is None else f"Bearer {token}"


def in_address(connection: HTTPConnection) -> bool:
    """Whether an address brings a token, which is refused for it ends up in logs."""
    return not TOKENS_IN_ADDRESS.isdisjoint(name.lower() for name in connection.query_params)


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _key(headers: Headers) -> str | None:
    """The idempotency key of a request, under the name of the standard or the one from before it.

    Raises:
        BadInput: there are several that differ.
    """
    found = {key.strip('"') for name in KEY_HEADERS for key in headers.getlist(name)}
    if len(found) > 1:
        raise BadInput("Idempotency-Key and X-Idempotency-Key differ: send one of them")
    return found.pop() if found else None
