"""The snapshot as it arrives over the network: what uvicorn and everything around the routes make of its bytes."""

from collections.abc import AsyncIterator

import pytest_asyncio

from agentos.app import create_app
from agentos.settings import Settings
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served

PATH = "/api/admin/ssot"


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema that is ours."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_it_arrives_packed_and_not_at_all_where_it_is_there_already(
    real: Served, people: People, token_of: TokenOf
) -> None:
    bearer = {"authorization": f"Bearer {token_of(people[Role.READONLY])}", "accept-encoding": "br"}

    async with real.client.stream("GET", PATH, headers=bearer) as first:
        content = b"".join([block async for block in first.aiter_raw()])
    head = await real.client.head(PATH, headers=bearer)
    same = await real.client.get(PATH, headers={**bearer, "if-none-match": first.headers["etag"]})
    nobody = await real.client.get(PATH, headers={"if-none-match": first.headers["etag"]})

    assert [200, 200, 304, 401] == [answer.status_code for answer in (first, head, same, nobody)]
    assert ("br", str(len(content))) == (first.headers["content-encoding"], first.headers["content-length"])
    assert (b"", b"", str(len(content))) == (head.content, same.content, head.headers["content-length"])
    assert {first.headers["etag"]} == {answer.headers["etag"] for answer in (head, same)}
    kept = "private, max-age=0, stale-while-revalidate=15"
    assert [kept, kept, kept, "no-store"] == [answer.headers["cache-control"] for answer in (first, head, same, nobody)]
    varies = {part.strip() for part in same.headers["vary"].split(",")}
    assert {"Accept-Encoding", "Authorization"} <= varies
    assert ["499", "498", "497"] == [
        answer.headers["ratelimit"].partition('"admin-read";r=')[2].partition(";")[0] for answer in (first, head, same)
    ]
    assert ["MISS", "HIT", "HIT"] == [answer.headers["x-cache"] for answer in (first, head, same)]
