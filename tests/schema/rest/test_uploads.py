"""A caller's uploads as REST lists them, and how each stands."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request

from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from resolvers.context import Context, Services
from schema.build import build
from schema.rest import serving
from tests.conftest import People
from tests.uploading import begun, context_of, sent, services_over, uploaded, video

CONTENT = video(2_500)
SCHEMA = build()


@pytest.fixture
def house(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest_asyncio.fixture
async def client(house: Services, people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as the role that the header `x-test-role` names."""

    async def identify(request: Request) -> Context:
        return context_of(house, people[Role(request.headers["x-test-role"])])

    transport = httpx.ASGITransport(Starlette(routes=serving.routes(SCHEMA, identify)))
    headers = {"x-test-role": "user"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as opened:
        yield opened


async def listed(client: httpx.AsyncClient, role: str = "user", **query: Any) -> dict[str, Any]:
    response = await client.get("/api/upload", params=query, headers={"x-test-role": role})
    assert 200 == response.status_code, response.text
    told: dict[str, Any] = response.json()
    return told


async def test_the_callers_uploads_are_listed_page_by_page(
    client: httpx.AsyncClient, house: Services, people: People
) -> None:
    sender = context_of(house, people[Role.USER])
    made = [str((await begun(sender, CONTENT, 1000)).id) for _ in range(5)]
    newest = made[::-1]

    first, second = await listed(client, per_page=2), await listed(client, page=2, per_page=2)
    rest = await listed(client, limit=3, offset=3)

    assert newest[:2] == [upload["id"] for upload in first["uploads"]]
    assert newest[2:4] == [upload["id"] for upload in second["uploads"]]
    assert newest[3:] == [upload["id"] for upload in rest["uploads"]]
    assert (first["data"], 5) == (first["uploads"], first["total"])
    assert {"page": 2, "per_page": 2, "total": 5, "total_pages": 3, "has_next": True, "has_prev": True} == second[
        "pagination"
    ]


async def test_the_list_is_the_callers_own_whatever_else_they_may_see(
    client: httpx.AsyncClient, house: Services, people: People
) -> None:
    for role in (Role.USER, Role.OPERATOR, Role.ADMIN):
        await begun(context_of(house, people[role]), CONTENT, 1000)

    assert {"user": 1, "operator": 1, "admin": 1, "readonly": 0} == {
        role: (await listed(client, role))["total"] for role in ("user", "operator", "admin", "readonly")
    }


async def test_the_list_is_narrowed_by_status(client: httpx.AsyncClient, house: Services, people: People) -> None:
    sender = context_of(house, people[Role.USER])
    done = await uploaded(sender, CONTENT)
    going = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0)
    await begun(sender, CONTENT, 1000)

    some = await listed(client, status="completed,uploading")

    assert [str(going.id), str(done.id)] == [upload["id"] for upload in some["data"]]
    assert [("uploading", 40, 1000), ("completed", 100, 2500)] == [
        (upload["status"], upload["progress"], upload["received_bytes"]) for upload in some["data"]
    ]


async def test_v1_lists_without_the_older_keys(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/upload")

    assert ["data", "pagination", "response_time_ms", "success", "timestamp"] == sorted(response.json())


async def test_the_status_tells_ranges_until_there_is_nothing_to_send(
    client: httpx.AsyncClient, house: Services, people: People
) -> None:
    sender = context_of(house, people[Role.USER])
    going = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 1)
    done = await uploaded(sender, CONTENT)

    half = (await client.get(f"/api/upload/status/{going.id}")).json()
    whole = (await client.get(f"/api/upload/status/{done.id}")).json()

    assert [{"start": 0, "end": 1000}, {"start": 2000, "end": 2500}] == half["data"]["missing"]
    assert [{"start": 1000, "end": 2000}] == half["data"]["received"]
    assert ("uploading", 40) == (half["status"], half["progress"])
    assert ([], [{"start": 0, "end": 2500}]) == (whole["data"]["missing"], whole["data"]["received"])


@pytest.mark.parametrize("upload_id", [str(UUID(int=7)), "nonsense", "../jobs"])
async def test_the_status_of_what_is_not_there_is_not_found(client: httpx.AsyncClient, upload_id: str) -> None:
    response = await client.get(f"/api/v1/upload/status/{upload_id}")

    assert 404 == response.status_code


async def test_a_list_of_uploads_asks_for_their_chunks_once(house: Services, people: People) -> None:
    """Ranges of many uploads cost one statement, as every list of this schema does."""
    sender = context_of(house, people[Role.USER])
    for _ in range(3):
        await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0)
    asked: list[int] = []
    load = sender.loaders.chunks_by_upload.load_fn
    assert load is not None

    async def counted(ids: Any) -> Any:
        asked.append(len(ids))
        return await load(ids)

    sender.loaders.chunks_by_upload.load_fn = counted
    answer = await SCHEMA.execute(
        "{ uploads { edges { node { missing { start end } received { end } } } } }", context_value=sender
    )

    assert answer.errors is None
    assert answer.data is not None
    assert 3 == len(answer.data["uploads"]["edges"])
    assert [3] == asked
