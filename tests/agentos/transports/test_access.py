"""The access log says what was asked, and holds nothing that would work for whoever reads it."""

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from structlog.testing import capture_logs

from agentos.metrics import Metrics
from agentos.transports import access, files
from db.files import Files
from guards.links import Links

SECRET = b"tests" * 8


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("around", ["{}", "{}/", "{}/more", "/behind/a/proxy{}", "/{}"])
async def test_a_link_is_logged_without_what_makes_it_work(
    method: str, around: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = Links(SECRET, "")
    address = links.to("default", "default/clips/ab/x.mp4", "A clip.mp4")
    app = Starlette(
        routes=files.routes(links, Files(tmp_path_factory.mktemp("files"))),
        middleware=[Middleware(access.Access, metrics=Metrics())],
    )
    # One that no earlier test has bound to another way of logging.
    monkeypatch.setattr(access, "log", structlog.get_logger("agentos.access"))

    with capture_logs() as lines:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files.test") as client:
            await client.request(method, f"http://files.test{around.format(address)}")

    [line] = lines
    assert address.rpartition("/")[2] not in str(line)
    assert line["path"].endswith("/files/…")


async def test_other_paths_are_logged_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "log", structlog.get_logger("agentos.access"))
    app = Starlette(middleware=[Middleware(access.Access, metrics=Metrics())])

    with capture_logs() as lines:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files.test") as client:
            await client.get("/api/jobs/7?token=abc")

    assert ["/api/jobs/7"] == [line["path"] for line in lines]
