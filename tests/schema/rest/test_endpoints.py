"""The endpoints as clients call them: envelope, legacy keys, statuses, and uploads end to end."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request

from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from db.users import User
from guards.errors import Unauthenticated
from resolvers.context import Context, Services
from resolvers.uploads import LARGEST_CHUNK, LARGEST_FILE
from schema.build import build
from schema.rest import serving
from schema.rest.endpoints import ENDPOINTS
from schema.rest.envelope import RESERVED
from schema.rest.operations import Unfit
from schema.rest.rows import Endpoint, body
from schema.rest.serving import PREFIXES
from tests.uploading import context_of, pieces_on_disk, services_over, sha256, video

People = dict[Role, User]
CONTENT = video(2_500)
SCHEMA = build()


@pytest.fixture
def house(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest_asyncio.fixture
async def client(house: Services, people: People, other_people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as whom the header `x-test-user` names, a user of their own unless told otherwise."""
    users = {f"{user.tenant_id}/{user.role}": user for user in (*people.values(), *other_people.values())}

    async def identify(request: Request) -> Context:
        name = request.headers["x-test-user"]
        if name == "forged":
            raise Unauthenticated("the access token is not valid")
        return context_of(house, users.get(name))

    app = Starlette(routes=serving.routes(SCHEMA, identify))
    transport = httpx.ASGITransport(app)
    headers = {"x-test-user": "default/user"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as opened:
        yield opened


async def begun(client: httpx.AsyncClient, *, prefix: str = "/api/v1", size: int = 2_500) -> str:
    body = {"filename": "../holiday.mp4", "file_size": size, "chunk_size": 1000, "unknown": {"key": [1]}}
    response = await client.post(f"{prefix}/upload/init", json=body)
    assert 201 == response.status_code, response.text
    return str(response.json()["data"]["id"])


def form(upload_id: str, index: int, content: bytes = CONTENT) -> dict[str, Any]:
    chunk = content[index * 1000 : index * 1000 + 1000]
    return {"data": {"chunk_index": str(index), "upload_id": upload_id}, "files": {"file": ("blob", chunk)}}


async def test_an_upload_goes_through_from_init_to_finalize(client: httpx.AsyncClient, house: Services) -> None:
    upload_id = await begun(client)
    for index in (2, 0):
        response = await client.post("/api/v1/upload/chunk", **form(upload_id, index))
        assert 200 == response.status_code, response.text

    status = (await client.get(f"/api/v1/upload/status/{upload_id}")).json()["data"]
    assert ("uploading", 60, 1500) == (status["status"], status["progress"], status["received_bytes"])
    assert [{"start": 1000, "end": 2000}] == status["missing"]
    assert [{"start": 0, "end": 1000}, {"start": 2000, "end": 2500}] == status["received"]

    await client.post("/api/v1/upload/chunk", **form(upload_id, 1))
    finalize = {"upload_id": upload_id, "total_chunks": 3, "sha256": sha256(CONTENT)}
    response = await client.post("/api/v1/upload/finalize", json=finalize)
    assert 201 == response.status_code, response.text
    done = response.json()["data"]
    assert ("completed", "Z") == (done["status"], done["completed_at"][-1])
    assert ("holiday.mp4", "video/mp4", sha256(CONTENT)) == (done["filename"], done["media_type"], done["sha256"])

    again = await client.post("/api/v1/upload/finalize", json=finalize)
    assert done == again.json()["data"]
    assert [] == pieces_on_disk(house.files, UUID(upload_id))


async def test_v1_answers_the_specifications_envelope_and_nothing_else(client: httpx.AsyncClient) -> None:
    upload_id = await begun(client)
    good = await client.post("/api/v1/upload/chunk", **form(upload_id, 0))
    bad = await client.get(f"/api/v1/upload/status/{uuid4()}")

    assert ["data", "response_time_ms", "success", "timestamp"] == sorted(good.json())
    assert ["error", "error_code", "success", "timestamp"] == sorted(bad.json())
    assert (True, False) == (good.json()["success"], bad.json()["success"])
    assert 0 < good.json()["response_time_ms"] < 60_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", good.json()["timestamp"])


async def test_older_clients_find_their_keys_at_the_top(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/upload/init", json={"filename": "a.mp4", "file_size": 2500, "chunk_size": 1000})
    init = response.json()
    upload_id = init["uploadId"]
    assert upload_id == init["upload_id"] == init["data"]["id"]

    for index in range(3):
        chunk = (await client.post("/api/upload/chunk", **form(upload_id, index))).json()
        assert (index, True) == (chunk["chunk_index"], chunk["received"])
    status = (await client.get(f"/api/upload/status/{upload_id}")).json()
    assert ("uploading", 100) == (status["status"], status["progress"])
    done = (await client.post("/api/upload/finalize", json={"upload_id": upload_id, "total_chunks": 3})).json()
    assert (upload_id, upload_id) == (done["file_path"], done["filePath"])
    assert done["data"] == done["metadata"]

    refused = await client.post("/api/upload/finalize", json={"upload_id": upload_id, "total_chunks": 4})
    assert (400, refused.json()["error"]) == (refused.status_code, refused.json()["detail"])


@pytest.mark.parametrize("file_first", [True, False])
async def test_the_parts_of_a_chunk_come_in_any_order(client: httpx.AsyncClient, file_first: bool) -> None:
    upload_id = await begun(client)
    fields: list[tuple[str, Any]] = [("chunk_index", (None, "0")), ("upload_id", (None, upload_id))]
    fields.insert(0 if file_first else 2, ("file", ("blob", CONTENT[:1000], "application/octet-stream")))

    response = await client.post("/api/v1/upload/chunk", files=fields)

    assert (200, 1000) == (response.status_code, response.json()["data"]["received_bytes"])


def raw_form(*parts: tuple[str, bytes], end: bytes = b"--X--\r\n") -> bytes:
    heads = [b'--X\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), c) for n, c in parts]
    return b"".join(heads) + end


FILE = ("file", CONTENT[:1000])
INDEX = ("chunk_index", b"0")
ID = ("upload_id", b"UPLOAD")
FORM = "multipart/form-data; boundary=X"
BAD_FORMS = {
    "no file": (FORM, raw_form(INDEX, ID), 400),
    "two files": (FORM, raw_form(INDEX, ID, FILE, FILE), 400),
    "no index": (FORM, raw_form(ID, FILE), 400),
    "no id": (FORM, raw_form(INDEX, FILE), 400),
    "an index that is none": (FORM, raw_form(("chunk_index", b"-1"), ID, FILE), 400),
    "an index in other digits": (FORM, raw_form(("chunk_index", "٣".encode()), ID, FILE), 400),
    "an index behind the end": (FORM, raw_form(("chunk_index", b"3"), ID, FILE), 400),
    "an id that is none": (FORM, raw_form(INDEX, ("upload_id", b"../etc"), FILE), 404),
    "an id of nobody": (FORM, raw_form(INDEX, ("upload_id", str(uuid4()).encode()), FILE), 404),
    "a field that is not UTF-8": (FORM, raw_form(INDEX, ("upload_id", b"\xff\xfe"), FILE), 400),
    "a field without end": (FORM, raw_form(INDEX, ("upload_id", b"a" * 2000), FILE), 400),
    "a digest that is none": (FORM, raw_form(INDEX, ID, FILE, ("sha256", b"xyz")), 400),
    "another digest": (FORM, raw_form(INDEX, ID, FILE, ("sha256", sha256(b"other").encode())), 422),
    "a chunk too short": (FORM, raw_form(INDEX, ID, ("file", CONTENT[:999])), 400),
    "a chunk too long": (FORM, raw_form(INDEX, ID, ("file", CONTENT[:1001])), 400),
    "too many parts": (FORM, raw_form(INDEX, ID, FILE, *[("more", b"")] * 20), 400),
    "broken off in a file": (FORM, raw_form(INDEX, ID, FILE, end=b"")[:-500], 400),
    "broken off before its end": (FORM, raw_form(INDEX, ID, FILE, end=b"--X\r\n"), 400),
    "no form at all": (FORM, b"hello", 400),
    "nothing": (FORM, b"", 400),
    "no boundary": ("multipart/form-data", raw_form(INDEX, ID, FILE), 415),
    "JSON": ("application/json", b"{}", 415),
}


async def test_a_form_that_does_not_fit_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, house: Services
) -> None:
    upload_id = await begun(client)
    before = (await client.get(f"/api/v1/upload/status/{upload_id}")).json()["data"]

    statuses = {}
    for name, (content_type, form_body, _) in BAD_FORMS.items():
        sent = form_body.replace(b"UPLOAD", upload_id.encode())
        response = await client.post("/api/v1/upload/chunk", content=sent, headers={"content-type": content_type})
        assert response.json()["success"] is False
        statuses[name] = response.status_code

    assert {name: status for name, (_, _, status) in BAD_FORMS.items()} == statuses
    assert before == (await client.get(f"/api/v1/upload/status/{upload_id}")).json()["data"]
    assert [] == pieces_on_disk(house.files, UUID(upload_id)) + list((house.files.root / ".spool").iterdir())


async def test_other_bytes_at_a_place_conflict_and_the_same_do_not(client: httpx.AsyncClient) -> None:
    upload_id = await begun(client)
    statuses = [
        (await client.post("/api/v1/upload/chunk", **form(upload_id, 0, content))).status_code
        for content in (CONTENT, CONTENT, bytes(2500), CONTENT)
    ]

    assert [200, 200, 409, 200] == statuses


@pytest.mark.parametrize("announced", ["nothing", "the truth", "too little"])
async def test_a_body_is_cut_off_where_it_is_too_long(
    client: httpx.AsyncClient, house: Services, announced: str
) -> None:
    """Whatever its length is said to be; of an honest one not a byte is read."""
    upload_id, read = await begun(client), 0
    start = raw_form(INDEX, (ID[0], upload_id.encode()), ("file", b""), end=b"")[:-2]

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield start
        while True:
            read += 65_536
            yield bytes(65_536)

    told = {"nothing": {}, "the truth": {"content-length": str(10**9)}, "too little": {"content-length": "10"}}
    headers = {"content-type": FORM, **told[announced]}
    response = await client.post("/api/v1/upload/chunk", content=endless(), headers=headers)

    assert (413, "TOO_LARGE") == (response.status_code, response.json()["error_code"])
    assert read <= (0 if announced == "the truth" else LARGEST_CHUNK + 2 * 65_536)
    assert [] == list((house.files.root / ".spool").iterdir())


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"filename": "a.mp4", "file_size": LARGEST_FILE + 1}, 413, "TOO_LARGE"),
        ({"filename": "a.mp4", "file_size": 10**9 + 1, "chunk_size": LARGEST_CHUNK + 1}, 413, "TOO_LARGE"),
        ({"filename": "a.mp4", "file_size": 0}, 400, "VALIDATION_ERROR"),
        ({"filename": "a.mp4", "file_size": 100, "sha256": "x"}, 400, "VALIDATION_ERROR"),
        ({"filename": "a.mp4"}, 400, "VALIDATION_ERROR"),
        ({"file_size": 100}, 400, "VALIDATION_ERROR"),
        ({"filename": "a.mp4", "file_size": "100"}, 400, "VALIDATION_ERROR"),
        ({"filename": "a.mp4", "file_size": 1e300}, 400, "VALIDATION_ERROR"),
        ({"filename": 5, "file_size": 100}, 400, "VALIDATION_ERROR"),
        ({"filename": "a.mp4", "file_size": True}, 400, "VALIDATION_ERROR"),
        ([], 400, "VALIDATION_ERROR"),
        ("text", 400, "VALIDATION_ERROR"),
    ],
)
async def test_an_impossible_upload_is_refused_by_name(
    client: httpx.AsyncClient, body: object, status: int, code: str
) -> None:
    response = await client.post("/api/v1/upload/init", json=body)

    assert (status, code) == (response.status_code, response.json()["error_code"])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"filename": "\xff"}', 400),
        ("application/json", b'{"filename": "\\ud800", "file_size": 1}', 400),
        ("application/json", b"[" * 60_000, 400),
        ("application/json", b'{"a": ' + b"9" * 60_000 + b"}", 400),
        ("application/json", b'{"a": "' + b"a" * 70_000 + b'"}', 413),
        ("text/plain", b'{"filename": "a.mp4", "file_size": 100}', 415),
    ],
)
async def test_what_is_not_strict_json_is_refused(
    client: httpx.AsyncClient, content_type: str, body: bytes, status: int
) -> None:
    response = await client.post("/api/v1/upload/init", content=body, headers={"content-type": content_type})

    assert (status, False) == (response.status_code, response.json()["success"])


async def test_no_video_is_told_what_it_seems_to_be(client: httpx.AsyncClient) -> None:
    upload_id, content = await begun(client), b"%PDF-1.7" + bytes(2_492)
    for index in range(3):
        await client.post("/api/v1/upload/chunk", **form(upload_id, index, content))

    response = await client.post("/api/v1/upload/finalize", json={"upload_id": upload_id})

    assert (415, "UNSUPPORTED_MEDIA") == (response.status_code, response.json()["error_code"])
    assert "application/pdf" in response.json()["error"]


async def calls(client: httpx.AsyncClient, upload_id: str, user: str) -> list[tuple[int, str]]:
    """What each endpoint says to somebody about an upload."""
    headers = {"x-test-user": user}
    answers = [
        await client.post("/api/v1/upload/init", json={"filename": "a", "file_size": 9}, headers=headers),
        await client.post("/api/v1/upload/chunk", **form(upload_id, 0), headers=headers),
        await client.post("/api/v1/upload/finalize", json={"upload_id": upload_id}, headers=headers),
        await client.get(f"/api/v1/upload/status/{upload_id}", headers=headers),
    ]
    return [(answer.status_code, answer.json().get("error_code", "")) for answer in answers]


async def test_who_may_what(client: httpx.AsyncClient) -> None:
    """Not signed in is told so, readonly may look, and what is foreign is missing."""
    upload_id = await begun(client)
    missing, made, seen = (404, "NOT_FOUND"), (201, ""), (200, "")
    forbidden, nobody = (403, "FORBIDDEN"), (401, "UNAUTHENTICATED")
    expected = {
        "anonymous": [nobody] * 4,
        "forged": [nobody] * 4,
        "default/readonly": [forbidden, forbidden, forbidden, seen],
        "default/supervisor": [made, missing, missing, seen],
        "default/operator": [made, missing, missing, seen],
        "default/admin": [made, missing, missing, seen],
        "other/user": [made, missing, missing, missing],
        "other/admin": [made, missing, missing, missing],
        "default/user": [made, seen, (409, "CONFLICT"), seen],
    }

    assert expected == {user: await calls(client, upload_id, user) for user in expected}


async def test_who_is_not_signed_in_is_told_how(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/api/v1/upload/status/{uuid4()}", headers={"x-test-user": "anonymous"})

    assert 'Bearer realm="agentos"' == response.headers["www-authenticate"]


async def test_four_times_the_same_chunk_at_once_is_one(client: httpx.AsyncClient) -> None:
    upload_id = await begun(client)

    answers = await asyncio.gather(*(client.post("/api/v1/upload/chunk", **form(upload_id, 0)) for _ in range(4)))

    assert [(200, 1000)] * 4 == [(answer.status_code, answer.json()["data"]["received_bytes"]) for answer in answers]


async def test_a_database_that_is_away_is_said_to_be(people: People, redis: Redis, tmp_path: Path) -> None:
    nowhere = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:9/nothing")
    services = services_over(nowhere, redis, tmp_path)

    async def identify(request: Request) -> Context:
        return context_of(services, people[Role.USER])

    app = Starlette(routes=serving.routes(SCHEMA, identify))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        answers = [
            await client.get(f"/api/upload/status/{uuid4()}"),
            await client.post("/api/upload/init", json={"filename": "a.mp4", "file_size": 100}),
        ]
    await nowhere.close()

    assert [(503, "UNAVAILABLE", "1")] * 2 == [
        (answer.status_code, answer.json()["error_code"], answer.headers["retry-after"]) for answer in answers
    ]


def test_every_row_says_what_answers_and_hides_no_envelope() -> None:
    for endpoint in ENDPOINTS:
        answering = (endpoint.operation, endpoint.native, endpoint.direct, endpoint.own)
        assert 1 == sum(each is not None for each in answering)
        assert (endpoint.native or endpoint.direct) is None or endpoint.permission is not None
        assert not RESERVED & endpoint.beside.keys()
        assert endpoint.path.startswith("/")
        assert endpoint.summary.endswith(".")


def test_fixed_paths_come_before_those_with_parameters() -> None:
    async def identify(request: Request) -> Context:
        raise Unauthenticated("nobody")

    paths = [route.path for route in serving.routes(SCHEMA, identify)]

    served = [endpoint.path for endpoint in ENDPOINTS if endpoint.own is None]
    assert sorted(f"{prefix}{path}" for prefix in PREFIXES for path in served) == sorted(paths)
    for prefix in PREFIXES:
        own = [path for path in paths if path.startswith(f"{prefix}/upload")]
        assert own == sorted(own, key=lambda path: "{" in path)


@pytest.mark.parametrize(
    "change",
    [
        {"variables": {"filename": body("filename")}},
        {"method": "GET"},
        {"operation": None},
    ],
)
def test_a_row_that_does_not_fit_its_operation_stops_the_server(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def identify(request: Request) -> Context:
        raise Unauthenticated("nobody")

    [init] = [endpoint for endpoint in ENDPOINTS if endpoint.operation == "UploadInit"]
    facts = {name: getattr(init, name) for name in init.__dataclass_fields__} | change
    monkeypatch.setattr(serving, "ENDPOINTS", (Endpoint(**facts),))

    with pytest.raises(Unfit):
        serving.routes(SCHEMA, identify)


SPECIFIED = """
GET /api/admin/ssot
GET /api/admin/ssot/dashboard
GET /api/admin/ssot/health
POST /api/admin/action
GET /api/admin/action/status
GET /api/jobs/today
GET /api/jobs/history
GET /api/jobs/{job_id}
GET /api/jobs/{job_id}/clips
GET /api/jobs/{job_id}/retry
GET /api/jobs/status/{status}
GET /api/jobs/summary/stats
GET /api/jobs/recent/{limit}
POST /api/jobs/create
POST /api/jobs/{job_id}/cancel
POST /api/jobs/{job_id}/status
GET /api/jobs/user/{user_id}
GET /api/agents/status
GET /api/agents/{agent_id}
POST /api/agents/{agent_id}/start
POST /api/agents/{agent_id}/stop
GET /api/agents/performance
GET /api/agents/health
POST /api/agents/restart
GET /api/agents/logs/{agent_id}
GET /api/agents/config
POST /api/agents/config
GET /api/agents/queue/{agent_id}
POST /api/agents/clear-queue
GET /api/upload
POST /api/upload/init
POST /api/upload/chunk
POST /api/upload/finalize
GET /api/upload/status/{upload_id}
GET /api/queue/status
GET /api/queue/details
GET /api/queue/stats
GET /api/clips/recent
GET /api/clips/{clip_id}
GET /
GET /health
GET /api/analytics/metrics
POST /api/auth/refresh
"""
"""The specification's list, word for word."""

LIVE = """
GET /api/agents
GET /api/jobs/{job_id}/status
"""
"""What clients that exist call besides."""


def test_the_specified_endpoints_are_served_and_no_others() -> None:
    served = {f"{row.method} {'' if row.own else '/api'}{row.path}" for row in ENDPOINTS}

    assert 43 == len(SPECIFIED.split("\n")) - 2
    assert set(SPECIFIED.strip().splitlines()) | set(LIVE.strip().splitlines()) == served
    assert 45 == len(ENDPOINTS)
