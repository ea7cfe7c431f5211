"""The endpoint table over HTTP, asked as somebody; every answer is compared with what is written about it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.requests import Request

from db.models.identity import Role
from resolvers.context import Context, Services
from schema.rest import serving
from schema.root import schema
from tests.conftest import People
from tests.described import DOCUMENT
from tests.uploading import context_of

Rest = Callable[..., Awaitable[httpx.Response]]

URL = "https://example.org/v.mp4"
NOWHERE = str(uuid4())
TOLD = {"success", "data", "timestamp", "response_time_ms"}
LISTED = TOLD | {"pagination"}


@cache
def written(method: str, path: str, status: int) -> Draft202012Validator:
    """What is written of an answer."""
    paths = DOCUMENT["paths"]
    fixed_first = sorted(paths, key=lambda each: [part.startswith("{") for part in each.split("/")])
    place = next(each for each in fixed_first if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), path))
    answer = paths[place][method.lower()]["responses"][str(status)]
    while "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    shape = answer["content"]["application/json"]["schema"]
    return Draft202012Validator({**shape, "components": DOCUMENT["components"]})


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
            answer = await client.request(method, path, params=query, json=json, headers=said)
            if answer.content:
                validator = written(method, answer.url.path, answer.status_code)
                assert [] == [fault.message for fault in validator.iter_errors(answer.json())]
            return answer

        yield asked


def ids(answer: Any) -> list[str]:
    """The ids of a list, which it gives in two ways below the old prefix."""
    told = answer.json()
    assert 200 == answer.status_code, told
    listed = [job["id"] for job in told["data"]]
    assert listed == [job["id"] for job in told.get("jobs", told["data"])]
    return listed
