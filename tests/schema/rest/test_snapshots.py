"""The snapshot as REST clients get it: encoded once, told by its tag, and never to whom it does not concern."""

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types; one function of it is used
import httpx
import pytest
import pytest_asyncio
import zstandard
from starlette.applications import Starlette
from starlette.requests import Request

from dataloaders.snapshot import Snapshots
from dataloaders.snapshot.encodings import PACKED, Coding, Pack
from dataloaders.snapshot.whole import Section
from db import logs
from db.database import Database
from db.models.identity import Role
from db.models.records import Severity
from db.redis import connect
from resolvers.context import Context, Services
from schema.rest import serving
from schema.rest.snapshots import coding_of
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of

ENVELOPE = {"success", "data", "timestamp", "response_time_ms"}
LEGACY = {"agents", "time_range", "envelope", "stale", "status", "architecture", *Section}
LIMITS = ("ratelimit", "ratelimit-policy")

UNPACKED: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda content: zstandard.ZstdDecompressor().decompress(content),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}


class Counting:
    """The real packing, with a count of how often it was done."""

    def __init__(self) -> None:
        self.done: Counter[Coding] = Counter()

    def packed(self) -> dict[Coding, Pack]:
        return {coding: self._counted(coding, pack) for coding, pack in PACKED.items()}

    def _counted(self, coding: Coding, pack: Pack) -> Pack:
        def counted(content: bytes) -> bytes:
            self.done[coding] += 1
            return pack(content)

        return counted


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def own(services: Services, counting: Counting, clock: Clock) -> AsyncIterator[Services]:
    """The services, with snapshots whose packing is counted, and that age when the test says so."""
    about = services.snapshots.sources.about
    snapshots = Snapshots(services.database, services.redis, about, packed=counting.packed(), clock=clock)
    yield replace(services, snapshots=snapshots)
    await snapshots.close()


@pytest_asyncio.fixture
async def client(own: Services, people: People, other_people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as an administrator, or as who `x-test-role`, `x-test-tenant` and `x-test-address` say."""

    async def identify(request: Request) -> Context:
        role = request.headers.get("x-test-role", "admin")
        known = other_people if "x-test-tenant" in request.headers else people
        context = context_of(own, None if role == "nobody" else known[Role(role)])
        context.address = request.headers.get("x-test-address", "127.0.0.1")
        return context

    app = Starlette(routes=serving.routes(schema, identify))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api.test", headers={"accept-encoding": "identity"}
    ) as opened:
        yield opened


async def raw(client: httpx.AsyncClient, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer with the bytes of its body as they came."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", path, headers=named) as answer:
        content = b"".join([block async for block in answer.aiter_raw()])
    return answer, content


async def written(database: Database, tenant: str, *lines: tuple[Severity, str, str, str]) -> None:
    async with database.transaction(tenant) as tx:
        for level, source, category, message in lines:
            await logs.write(tx, [logs.NewLine(level=level, source=source, category=category, message=message)])


async def test_v1_has_the_snapshot_as_it_is_and_nothing_beside_the_envelope(
    client: httpx.AsyncClient, own: Services
) -> None:
    answer, content = await raw(client, "/api/v1/admin/ssot")

    told = json.loads(content)
    assert (200, ENVELOPE, True) == (answer.status_code, set(told), told["success"])
    assert json.loads(await own.snapshots.encoded("default")) == told["data"]
    assert told["data"]["timestamp"] == told["timestamp"]
    assert 0 < told["response_time_ms"] < 60_000


async def test_older_clients_find_every_key_at_the_top_as_well(client: httpx.AsyncClient) -> None:
    _, content = await raw(client, "/api/admin/ssot")

    told = json.loads(content)
    data = told["data"]
    assert ENVELOPE | LEGACY == set(told)
    assert data == {name: told[name] for name in data}
    assert told["agents"] == told["agents_workers"]
    assert ("24h", "success", True) == (told["time_range"], told["status"], told["success"])
    assert not told.get("error")


async def test_older_views_find_what_they_read(client: httpx.AsyncClient) -> None:
    _, content = await raw(client, "/api/admin/ssot")

    told: Any = json.loads(content)
    dashboard, agents_workers, configuration = told["dashboard"], told["agents_workers"], told["configuration"]
    assert {"pending", "processing", "completed_today", "failed_today", "completed", "failed", "total"} <= set(
        dashboard["queue"]
    )
    assert {"api_status", "database_status", "redis_status", "websocket_status", "uptime"} <= set(dashboard["system"])
    assert {"total", "active", "details"} <= set(dashboard["workers"])
    assert {"recent_jobs", "total_today", "success_rate", "total_jobs"} <= set(dashboard["jobs"])
    assert 11 == agents_workers["agents"]["status"]["total_agents"] == len(agents_workers["agents"]["agents"])
    assert {"active"} == {agent["status"] for agent in agents_workers["agents"]["agents"]}
    assert [] == agents_workers["workers"]["workers"]
    assert {"system_name", "environment", "max_concurrent_jobs", "api_port"} <= set(configuration["system_config"])
    assert {"id", "name", "enabled"} == set(configuration["agent_config"]["agents"][0])
    assert (True, 0) == (told["analytics"]["success"], told["analytics"]["data"]["data"]["total_jobs"])
    assert {"system_status", "available_actions", "maintenance_info"} <= set(told["system_control"])


async def test_the_dashboard_is_there_alone(client: httpx.AsyncClient) -> None:
    _, new = await raw(client, "/api/v1/admin/ssot/dashboard")
    _, old = await raw(client, "/api/admin/ssot/dashboard")

    shown, legacy = json.loads(new), json.loads(old)
    assert ENVELOPE == set(shown)
    assert ENVELOPE | {"dashboard", "status"} == set(legacy)
    assert shown["data"] == legacy["data"] == legacy["dashboard"]
    assert shown["data"]["timestamp"] == shown["timestamp"]


@pytest.mark.parametrize("coding", UNPACKED)
async def test_the_same_in_every_coding_under_a_tag_of_its_own(client: httpx.AsyncClient, coding: str) -> None:
    plain, content = await raw(client, "/api/admin/ssot")
    packed, fewer = await raw(client, "/api/admin/ssot", accept_encoding=coding)

    assert (None, coding) == (plain.headers.get("content-encoding"), packed.headers["content-encoding"])
    assert content == UNPACKED[coding](fewer)
    assert len(fewer) == int(packed.headers["content-length"]) < len(content) / 3
    assert plain.headers["etag"] != packed.headers["etag"]
    assert "Accept-Encoding, Authorization" == plain.headers["vary"] == packed.headers["vary"]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("GZIP;q=1.0, br;q=0.8, zstd;q=0", "gzip"),
        ("br ; q=0.5 , gzip;Q=0.6", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0.001", "gzip"),
        ("identity, gzip;q=0.9", "identity"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0", "identity"),
        ("deflate, compress", "identity"),
        ("gzip;q=2, br;q=nonsense", "identity"),
        (",, ;q=1, =", "identity"),
    ],
)
def test_the_coding_is_the_one_a_client_likes_best(accepted: str, coding: str) -> None:
    assert Coding(coding) is coding_of(accepted)


@pytest.mark.parametrize("accepted", ["zstd", "br", "gzip", "identity"])
async def test_who_has_the_bytes_already_is_told_so(client: httpx.AsyncClient, accepted: str) -> None:
    first, _ = await raw(client, "/api/admin/ssot", accept_encoding=accepted)
    tag = first.headers["etag"]

    for asked in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer, content = await raw(client, "/api/admin/ssot", accept_encoding=accepted, if_none_match=asked)

        assert (304, b"") == (answer.status_code, content)
        assert {name: first.headers[name] for name in ("etag", "cache-control", "vary")} == {
            name: answer.headers[name] for name in ("etag", "cache-control", "vary")
        }
        assert all(name in answer.headers for name in LIMITS)


async def test_another_path_coding_or_version_is_another_tag(client: httpx.AsyncClient, own: Services) -> None:
    paths = [f"{prefix}/admin/ssot{part}" for prefix in ("/api", "/api/v1") for part in ("", "/dashboard")]
    before = [await raw(client, path, accept_encoding=coding) for path in paths for coding in ("zstd", "identity")]
    await own.snapshots.rebuild("default")
    after = [await raw(client, path, accept_encoding=coding) for path in paths for coding in ("zstd", "identity")]

    tags = [answer.headers["etag"] for answer, _ in before + after]
    assert 16 == len(set(tags))


async def test_a_browser_keeps_it_for_itself_and_asks_again(client: httpx.AsyncClient, clock: Clock) -> None:
    clock.now -= timedelta(seconds=4)
    answer, _ = await raw(client, "/api/admin/ssot")

    assert "private, max-age=0, stale-while-revalidate=15" == answer.headers["cache-control"]
    assert 4 <= int(answer.headers["age"]) < 60


async def test_the_answer_to_head_is_the_same_without_its_body(client: httpx.AsyncClient) -> None:
    whole, content = await raw(client, "/api/admin/ssot", accept_encoding="br")
    head = await client.head("/api/admin/ssot", headers={"accept-encoding": "br"})

    assert (200, b"", str(len(content))) == (head.status_code, head.content, head.headers["content-length"])
    assert whole.headers["etag"] == head.headers["etag"]


async def test_many_requests_are_packed_once(client: httpx.AsyncClient, counting: Counting) -> None:
    for coding in ("zstd", "br", "gzip") * 5:
        await raw(client, "/api/admin/ssot", accept_encoding=coding)

    assert {Coding.ZSTD: 1, Coding.BROTLI: 1, Coding.GZIP: 1} == counting.done


async def test_without_keeping_them_every_request_is_packed(
    client: httpx.AsyncClient, own: Services, counting: Counting
) -> None:
    """The control: what the count of the test above would be."""
    for _ in range(5):
        found = await own.snapshots.found("default")
        found.bodies._made.clear()
        await raw(client, "/api/admin/ssot", accept_encoding="zstd")

    assert {Coding.ZSTD: 5} == counting.done


async def test_a_hit_is_told_from_a_miss(client: httpx.AsyncClient) -> None:
    answers = [await raw(client, "/api/admin/ssot") for _ in range(3)]

    assert ["MISS", "HIT", "HIT"] == [answer.headers["x-cache"] for answer, _ in answers]


async def test_the_stretch_of_time_is_one_of_four(client: httpx.AsyncClient) -> None:
    for time_range in ("1h", "7d", "30d", "24h"):
        _, content = await raw(client, f"/api/admin/ssot?time_range={time_range}")
        told = json.loads(content)
        assert [time_range] * 2 == [told["time_range"], told["analytics"]["time_range"]]
    refused, content = await raw(client, "/api/admin/ssot?time_range=2h")
    assert (400, "VALIDATION_ERROR") == (refused.status_code, json.loads(content)["error_code"])
    assert "time_range: one of 1h, 24h, 7d, 30d is needed, not '2h'" == json.loads(content)["detail"]
    assert "etag" not in refused.headers


async def test_log_lines_are_filtered_for_who_asks(
    client: httpx.AsyncClient, own: Services, counting: Counting
) -> None:
    await written(
        own.database,
        "default",
        (Severity.INFO, "api", "application", "one"),
        (Severity.ERROR, "api", "application", "two"),
        (Severity.ERROR, "worker", "media", "three of 100%"),
        (Severity.ERROR, "api", "media", "four"),
    )

    async def messages(**filters: object) -> list[str]:
        answer = await client.get("/api/v1/admin/ssot", params={"log_filters": json.dumps(filters)})
        assert 200 == answer.status_code, answer.text
        shown = answer.json()["data"]["logs"]
        assert filters == {name: shown["applied_filters"][name] for name in filters}
        return [line["message"] for line in shown["logs"]]

    assert ["four", "three of 100%", "two", "one"] == await messages()
    assert ["four", "three of 100%", "two"] == await messages(level="error")
    assert ["four"] == await messages(level="error", source="api", category="media")
    assert ["three of 100%"] == await messages(search="100%")
    assert ["three of 100%", "two"] == await messages(level="all", limit=2, offset=1)
    await raw(client, '/api/admin/ssot?log_filters={"limit":1}', accept_encoding="zstd")
    _, usual = await raw(client, "/api/v1/admin/ssot")
    assert 4 == len(json.loads(usual)["data"]["logs"]["logs"])
    assert {Coding.ZSTD: 1} == counting.done


@pytest.mark.parametrize(
    "filters",
    [
        "",
        "{",
        "[]",
        "null",
        '"error"',
        '{"level":"loud"}',
        '{"limit":0}',
        '{"limit":501}',
        '{"limit":"ten"}',
        '{"offset":-1}',
        '{"offset":1001}',
        '{"colour":"red"}',
        '{"source":5}',
        '{"search":"\\u0000"}',
        '{"search":"\\ud800"}',
        f'{{"search":"{"x" * 201}"}}',
        "[" * 5_000,
    ],
)
async def test_filters_that_cannot_be_read_are_refused(client: httpx.AsyncClient, filters: str) -> None:
    answer = await client.get("/api/v1/admin/ssot", params={"log_filters": filters})

    assert (400, "VALIDATION_ERROR") == (answer.status_code, answer.json()["error_code"])
    assert answer.json()["error"].startswith("log_filters: ")


@pytest.mark.parametrize("path", ["/admin/ssot", "/admin/ssot/dashboard", "/admin/ssot/health"])
@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
async def test_it_is_for_those_who_may_read_it_from_where_they_may(
    client: httpx.AsyncClient, prefix: str, path: str
) -> None:
    statuses = {
        role: (await client.get(prefix + path, headers={"x-test-role": role})).status_code for role in ("nobody", *Role)
    }
    outside = await client.get(prefix + path, headers={"x-test-address": "203.0.113.9"})

    assert {"nobody": 401, "admin": 200, "operator": 200, "supervisor": 200, "readonly": 200, "user": 403} == statuses
    assert (403, "FORBIDDEN") == (outside.status_code, outside.json()["error_code"])
    assert "etag" not in outside.headers


async def test_a_tag_that_is_known_lets_nobody_in(client: httpx.AsyncClient) -> None:
    known, _ = await raw(client, "/api/admin/ssot")

    for role, status in (("nobody", 401), ("user", 403)):
        answer, _ = await raw(client, "/api/admin/ssot", if_none_match=known.headers["etag"], x_test_role=role)
        assert status == answer.status_code


async def test_a_tenant_sees_its_own(client: httpx.AsyncClient, own: Services) -> None:
    await written(own.database, "default", (Severity.INFO, "api", "application", "of the house"))

    _, ours = await raw(client, "/api/v1/admin/ssot")
    _, theirs = await raw(client, "/api/v1/admin/ssot", x_test_tenant="other")

    assert ["of the house"] == [line["message"] for line in json.loads(ours)["data"]["logs"]["logs"]]
    assert [] == json.loads(theirs)["data"]["logs"]["logs"]


async def test_every_answer_is_charged_whether_it_has_a_body_or_not(client: httpx.AsyncClient) -> None:
    first, _ = await raw(client, "/api/admin/ssot")
    same, _ = await raw(client, "/api/admin/ssot", if_none_match="*")
    head = await client.head("/api/v1/admin/ssot")

    assert '"admin-read";q=500;w=60, "admin-read-burst";q=167;w=10' == first.headers["ratelimit-policy"]
    assert ['"admin-read";r=499', '"admin-read";r=498', '"admin-read";r=497'] == [
        answer.headers["ratelimit"].partition(";t=")[0] for answer in (first, same, head)
    ]


async def test_what_a_request_took_is_told_beside_the_body(client: httpx.AsyncClient) -> None:
    answer, _ = await raw(client, "/api/admin/ssot")

    name, _, took = answer.headers["server-timing"].partition(";dur=")
    assert "app" == name
    assert float(took) > 0


async def test_health_tells_how_the_snapshot_stands(client: httpx.AsyncClient) -> None:
    new, old = await client.get("/api/v1/admin/ssot/health"), await client.get("/api/admin/ssot/health")

    told, legacy = new.json(), old.json()
    assert (200, ENVELOPE, ENVELOPE | {"status", "services"}) == (new.status_code, set(told), set(legacy))
    assert ("healthy", dict.fromkeys(Section, "ok")) == (legacy["status"], legacy["services"])
    assert ("healthy", False, True, [], None) == tuple(
        told["data"][name] for name in ("status", "expired", "fresh", "stale", "last_error")
    )
    assert 0 <= told["data"]["age_s"] < 5
    assert told["data"]["version"]


async def test_health_is_503_when_there_is_no_snapshot_and_none_can_be_had(own: Services, people: People) -> None:
    away = Database.connect("postgresql://127.0.0.1:1/nowhere")
    snapshots = Snapshots(away, connect("redis://127.0.0.1:1"), own.snapshots.sources.about)
    blind = replace(own, snapshots=snapshots)

    async def identify(_: Request) -> Context:
        return context_of(blind, people[Role.ADMIN])

    app = Starlette(routes=serving.routes(schema, identify))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        answer = await client.get("/api/admin/ssot/health")
        whole = await client.get("/api/admin/ssot")

    told = answer.json()
    assert (503, False, "UNAVAILABLE") == (answer.status_code, told["success"], told["error_code"])
    assert ("unhealthy", dict.fromkeys(Section, "missing")) == (told["status"], told["services"])
    assert (503, "UNAVAILABLE") == (whole.status_code, whole.json()["error_code"])
    await snapshots.close()
    await away.close()
