"""Subscriptions over gql that go on, connection after connection, after what they were told last."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import ClientTimeout
from gql import Client, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.async_transport import AsyncTransport
from gql.transport.exceptions import TransportConnectionFailed, TransportServerError
from gql.transport.websockets import WebsocketsTransport
from graphql import ExecutionResult
from websockets.exceptions import ConnectionClosed

EXPIRED = "the access token has expired"


def over_socket(url: str, token: str) -> WebsocketsTransport:
    return WebsocketsTransport(url.replace("http", "ws", 1), init_payload={"authorization": f"Bearer {token}"})


def over_http(url: str, token: str) -> AIOHTTPTransport:
    without_end = {"timeout": ClientTimeout(total=None)}
    return AIOHTTPTransport(url, headers={"authorization": f"Bearer {token}"}, client_session_args=without_end)


async def changes(
    connection: Callable[[], AsyncTransport], query: str, **variables: Any
) -> AsyncIterator[ExecutionResult]:
    """What a subscription with `$after` tells; each `connection` is made with a token that is good then."""
    attempt = 0
    while True:
        greeted = False
        try:
            async with Client(transport=connection()) as session:
                greeted = True
                variables["after"] = variables.get("after") or place(session.transport)
                request = GraphQLRequest(query, variable_values=variables)
                async for result in session.subscribe(request, get_execution_result=True):
                    variables["after"] = (result.extensions or {}).get("cursor", variables.get("after"))
                    attempt = 0
                    yield result
        except (TransportConnectionFailed, TransportServerError) as error:
            if signed_out(error) and not (greeted and expired(error)):
                raise
        await asyncio.sleep(random.random() * min(10, 0.1 * 2**attempt))
        attempt += 1


def place(transport: AsyncTransport) -> str | None:
    """Where a socket began: from there goes on what has not been told anything."""
    greeting = transport.payloads.get("connection_ack") if isinstance(transport, WebsocketsTransport) else None
    return (greeting or {}).get("cursor")


def signed_out(error: TransportConnectionFailed | TransportServerError) -> bool:
    """Whether trying again with the same token would be in vain."""
    if isinstance(error, TransportServerError):
        return error.code == 401
    closed = error.__cause__
    return isinstance(closed, ConnectionClosed) and closed.rcvd is not None and closed.rcvd.code == 4403


def expired(error: TransportConnectionFailed | TransportServerError) -> bool:
    """Whether the token of a socket has only run out: who was let in with it comes back with the next."""
    closed = error.__cause__
    return isinstance(closed, ConnectionClosed) and closed.rcvd is not None and closed.rcvd.reason == EXPIRED
