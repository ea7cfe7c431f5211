"""Clients that others wrote are asked whether they are there, and know what to say."""

import logging

import pytest
from gql import Client, GraphQLRequest
from starlette.routing import WebSocketRoute

from agentos.transports.sockets import GraphQLOverWebSocket
from db.models.identity import Role
from tests.clients.following import following
from tests.clients.live.changes import over_socket
from tests.serving import Served
from tests.waiting import until

BEAT_S = 0.2
ENOUGH = 6
"""Twice as many as a client may leave unanswered that has answered once."""

ME = "{ me { role } }"


def sockets_of(house: Served) -> GraphQLOverWebSocket:
    """What serves sockets there."""
    [found] = [
        route.endpoint
        for route in house.app.routes
        if isinstance(route, WebSocketRoute) and isinstance(route.endpoint, GraphQLOverWebSocket)
    ]
    return found


@pytest.fixture
def address(house: Served) -> str:
    """Where clients are asked often."""
    sockets_of(house).beat_s = BEAT_S
    return f"http://{house.host}:{house.port}/graphql"


async def test_graphql_ws_says_that_it_is_there(address: str, tokens: dict[Role, str]) -> None:
    """So do urql and Apollo Client, whose sockets are its."""
    async with following(address) as clients, clients.client("graphql-ws", tokens[Role.USER]) as client:
        await client.follow("job", "subscription { jobChanged { __typename } }")
        for _ in range(ENOUGH):
            await client.hear("pong")
        answer = await client.ask(ME)

    assert {"next": {"data": {"me": {"role": "USER"}}}} == answer


async def test_gql_says_that_it_is_there(
    house: Served, address: str, tokens: dict[Role, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gql.transport.common.base")

    def pongs() -> int:
        return caplog.messages.count('>>> {"type": "pong"}')

    async with Client(transport=over_socket(address, tokens[Role.USER])) as session:
        await until(lambda: pongs() >= ENOUGH)
        # Only one more is on its way: gql stumbles over a ping that comes while it is closing.
        sockets_of(house).beat_s, so_far = 60, pongs()
        await until(lambda: pongs() > so_far)
        answer = await session.execute(GraphQLRequest(ME))

    assert {"me": {"role": "USER"}} == answer
