"""Rows as routes: in which order calls are judged, what stands beside the data, and what does not fit together."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request

from db.models.identity import Role
from guards.errors import Unauthenticated
from resolvers.context import Context, Services
from schema.rest import serving
from schema.rest.operations import Unfit
from schema.rest.rows import Endpoint, Tag, path
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of


async def nobody(request: Request) -> Context:
    raise Unauthenticated("nobody")


@pytest_asyncio.fixture
async def client(services: Services, people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as the role that the header `x-test-role` names, or as nobody."""

    async def identify(request: Request) -> Context:
        role = request.headers["x-test-role"]
        return context_of(services, None if role == "nobody" else people[Role(role)])

    transport = httpx.ASGITransport(Starlette(routes=serving.routes(schema, identify)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as opened:
        yield opened


@pytest.mark.parametrize(
    ("role", "code"), [("nobody", "UNAUTHENTICATED"), ("readonly", "FORBIDDEN"), ("user", "VALIDATION_ERROR")]
)
@pytest.mark.parametrize("sent", [{"json": {}}, {"json": []}, {"content": b"{"}, {"json": {"filename": {}}}])
async def test_whom_a_call_does_not_concern_is_told_nothing_of_its_shape(
    role: str, code: str, sent: dict[str, object], client: httpx.AsyncClient
) -> None:
    headers = {"x-test-role": role, "content-type": "application/json"}
    answer = await client.post("/api/upload/init", headers=headers, **sent)  # type: ignore[arg-type]

    assert code == answer.json()["error_code"]


async def test_a_wrong_value_is_named_as_the_client_knows_it(client: httpx.AsyncClient) -> None:
    as_user = {"x-test-role": "user"}
    wrong = await client.post("/api/upload/init", json={"filename": "a.mp4", "file_size": "big"}, headers=as_user)
    missing = await client.post("/api/upload/init", json={"file_size": 1}, headers=as_user)
    empty = await client.post("/api/upload/init", json={"filename": "a.mp4", "file_size": 0}, headers=as_user)

    assert (400, "VALIDATION_ERROR") == (wrong.status_code, wrong.json()["error_code"])
    assert wrong.json()["error"].startswith("file_size: ")
    assert (400, "file_size: more than 0 is needed") == (empty.status_code, empty.json()["error"])
    assert (400, "filename: it is missing") == (missing.status_code, missing.json()["error"])


async def test_everything_below_the_old_prefix_names_its_successor(client: httpx.AsyncClient) -> None:
    headers = {"x-test-role": "user"}
    old, new = [await client.get(f"{prefix}/upload/status/x", headers=headers) for prefix in ("/api", "/api/v1")]

    assert ("@1795392000", '</api/v1/upload/status/x>; rel="successor-version"') == (
        old.headers["deprecation"],
        old.headers["link"],
    )
    assert {"deprecation", "link"}.isdisjoint(new.headers)


def test_what_is_spread_hides_nothing_of_the_envelope() -> None:
    answer = {"data": {"id": 7, "success": "no", "error": "bad"}, "pagination": {"total": 3}, "figures": None}
    keys = {
        "*": "data",
        "job": "data",
        "total": "pagination.total",
        "rate": "figures.rate",
        "double": lambda all_: all_["data"]["id"] * 2,
    }

    assert {"id": 7, "job": answer["data"], "total": 3, "rate": None, "double": 14} == serving.beside(keys, answer)  # type: ignore[arg-type]


def row(**facts: object) -> Endpoint:
    usual = {"method": "GET", "path": "/upload/status/{upload_id}", "tag": Tag.UPLOAD, "summary": "One."}
    return Endpoint(**(usual | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row(), row()], "it is hidden by /upload/status/{upload_id}"),
        ([row(path="/{kind}/status/x"), row(path="/{any}/status/x")], "it is hidden by /{kind}/status/x"),
        ([row()], "it has neither an operation nor a handler"),
        ([row(operation="AuthRefresh", variables={"token": path("upload_id")})], "a GET runs the mutation AuthRefresh"),
        ([row(operation="AuthRefresh", changes=True, audited="x")], "the row and AuthRefresh differ in token"),
        (
            [row(operation="AuthRefresh", changes=True, audited="x", variables={"token": path("id")})],
            "its parameters and what is read",
        ),
        ([row(operation="AdminActionStatus", paged=True)], "the row and AdminActionStatus differ in"),
    ],
)
def test_a_table_that_does_not_fit_together_is_not_served(
    rows: list[Endpoint], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ENDPOINTS", tuple(rows))

    with pytest.raises(Unfit, match=told.replace("{", r"\{")):
        serving.routes(schema, nobody)


@pytest.mark.parametrize("name", ["agent", "agent_name", "agentid", "dryrun"])
async def test_what_would_be_passed_over_does_not_mean_everything(name: str, client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/v1/agents/clear-queue", json={name + "s": "clipper"}, headers={"x-test-role": "admin"}
    )

    assert (400, "VALIDATION_ERROR") == (answer.status_code, answer.json()["error_code"])
    assert answer.json()["error"].startswith(f"{name}s: there is no such field; agent, agent_id, dry_run")


async def test_names_are_understood_as_graphql_spells_them(client: httpx.AsyncClient) -> None:
    body = {"agentId": "clipper", "dryRun": True}
    answer = await client.post("/api/v1/agents/clear-queue", json=body, headers={"x-test-role": "admin"})

    assert (200, True) == (answer.status_code, answer.json()["data"]["dry_run"])


async def test_a_list_is_joined_and_what_is_none_is_given_once(client: httpx.AsyncClient) -> None:
    headers = {"x-test-role": "admin"}
    both = await client.get("/api/v1/jobs/history?status=failed&status=cancelled", headers=headers)
    joined = await client.get("/api/v1/jobs/history?status=failed,cancelled", headers=headers)
    twice = await client.get("/api/v1/jobs/history?user_id=me&user_id=you", headers=headers)

    assert both.json()["data"] == joined.json()["data"]
    assert (400, "user_id: it was given 2 times") == (twice.status_code, twice.json()["error"])
