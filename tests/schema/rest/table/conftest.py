"""The endpoint table over HTTP, asked as somebody."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request

from db.models.identity import Role
from resolvers.context import Context, Services
from schema.rest import serving
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of

Rest = Callable[..., Awaitable[httpx.Response]]


@pytest_asyncio.fixture
async def rest(services: Services, people: People, other_people: People) -> AsyncIterator[Rest]:
    """`await rest("GET", "/api/jobs/today", role="admin")`: what an endpoint says to a user, unless told otherwise.

    A role of the other tenant is written `other/user`, who is not signed in `nobody`.
    """

    async def identify(request: Request) -> Context:
        *other, role = request.headers["x-test-role"].split("/")
        user = None if role == "nobody" else (other_people if other else people)[Role(role)]
        context = context_of(services, user)
        context.idempotency_key = request.headers.get("x-idempotency-key")
        return context

    transport = httpx.ASGITransport(Starlette(routes=serving.routes(schema, identify)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:

        async def asked(
            method: str,
            path: str,
            *,
            role: str = "user",
            json: object = None,
            query: dict[str, str | int] | None = None,
            headers: dict[str, str] | None = None,
        ) -> httpx.Response:
            said = {"x-test-role": role, **(headers or {})}
            return await client.request(method, path, params=query, json=json, headers=said)

        yield asked
