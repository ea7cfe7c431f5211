"""A fetch ends at the video or is refused; it is never led into a private network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.videos import Videos
from tests.workers.agents.bench import Bench, Job
from workers.agents import fetching, video_downloader
from workers.agents.contract import Source
from workers.agents.fetching import Limits
from workers.agents.video_downloader import Download
from workers.failures import SourceUnavailable, StepFailed

OPEN = Limits(most_bytes=10_000_000, private_allowed=True)


@dataclass(slots=True)
class Site:
    """A web server of our own on loopback; answers are bytes as they go over the wire."""

    port: int
    answers: dict[str, bytes] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    """The Host header of each request."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    served = Site(port=0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        served.hosts += [line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")]
        writer.write(served.answers.get(head.split()[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        served.port = server.sockets[0].getsockname()[1]
        yield served


def ok(body: bytes, *, kind: str = "video/mp4", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Awaitable[bytes]]:
    bench = Bench(tmp_path)

    async def got(url: str, limits: Limits = OPEN) -> bytes:
        await fetching.fetch(url, tmp_path / "got", limits, page=bench.compute, on_progress=bench.progress)
        return (tmp_path / "got").read_bytes()

    return got


Get = Callable[..., Awaitable[bytes]]


async def test_a_video_is_fetched_through_redirects(site: Site, get: Get) -> None:
    site.answers = {"/a": moved("/b"), "/b": moved(site.url("/c")), "/c": ok(b"video")}

    assert b"video" == await get(site.url("/a"))


async def test_a_fetched_video_is_measured(site: Site, videos: Videos, tmp_path: Path) -> None:
    site.answers = {"/my%20trip.mp4": ok(videos.silent().read_bytes())}
    job = Job(tmp_path, Source(url=site.url("/my%20trip.mp4")), config={"allow_private": True})

    await job.do(video_downloader.AGENT)

    found = job.found(Download)
    assert ("My trip", 4.0) == (found.title, found.facts.duration_s)
    assert str(job.benches[Download.agent].folder / "source") == found.path


async def test_the_name_goes_along_although_numbers_are_connected_to(site: Site, get: Get) -> None:
    site.answers = {"/v": ok(b"video")}

    await get(site.url("/v", host="localhost"))

    assert [f"localhost:{site.port}"] == site.hosts


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/v",
        "http://localhost:{port}/v",
        "http://2130706433:{port}/v",
        "http://[::1]:{port}/v",
        "http://[::ffff:127.0.0.1]:{port}/v",
        "http://0.0.0.0:{port}/v",
        "http://10.0.0.1/v",
        "http://169.254.169.254/latest/meta-data",
    ],
)
async def test_a_private_address_is_not_even_connected_to(site: Site, get: Get, url: str) -> None:
    with pytest.raises(StepFailed, match="private network"):
        await get(url.format(port=site.port), Limits(most_bytes=1000))

    assert [] == site.hosts


async def test_a_redirect_into_a_private_network_is_not_followed(
    site: Site, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first name counts as public; the redirect names loopback as it is."""
    site.answers = {"/a": moved(site.url("/secret")), "/secret": ok(b"secret")}
    monkeypatch.setattr(fetching, "is_public", _only_the_first())

    with pytest.raises(StepFailed, match="private network"):
        await get(site.url("/a"), Limits(most_bytes=1000))

    assert 1 == len(site.hosts)


async def test_a_name_is_looked_up_once_and_that_address_used(
    site: Site, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up would give a name the chance to change its mind after the check."""
    lookups: list[str] = []
    real = asyncio.get_running_loop().getaddrinfo

    async def counted(host: str, *args: Any, **more: Any) -> Any:
        lookups.append(host)
        return await real("127.0.0.1" if host == "videos.example" else host, *args, **more)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", counted)
    site.answers = {"/v": ok(b"video")}

    assert b"video" == await get(site.url("/v", host="videos.example"))
    assert 1 == lookups.count("videos.example")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://example.org/v", "gopher://x", "nonsense", "http://"])
async def test_other_schemes_are_refused(get: Get, url: str) -> None:
    with pytest.raises(StepFailed, match="only http and https"):
        await get(url)


async def test_a_declared_size_over_the_limit_is_refused_unread(site: Site, get: Get) -> None:
    site.answers = {"/v": ok(b"", length=5_000_000)}

    with pytest.raises(StepFailed, match="the video is larger than 2 MB"):
        await get(site.url("/v"), Limits(most_bytes=2_000_000, private_allowed=True))


async def test_an_undeclared_size_over_the_limit_is_stopped(site: Site, get: Get) -> None:
    site.answers = {"/v": b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n" + bytes(3_000_000)}

    with pytest.raises(StepFailed, match="the video is larger than 2 MB"):
        await get(site.url("/v"), Limits(most_bytes=2_000_000, private_allowed=True))


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", StepFailed, "there is nothing at the address"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", StepFailed, "the address needs a login"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", SourceUnavailable, "answered 503"),
        (moved("/v"), StepFailed, "from one address to the next without end"),
        (ok(b"half", length=9), SourceUnavailable, "the server of the address cannot be reached|ended before"),
        (ok(b"<html></html>", kind="text/html"), StepFailed, "leads to a web page|no video on the page"),
    ],
)
async def test_each_way_to_fail_is_said(
    site: Site, get: Get, answer: bytes, kind: type[Exception], message: str
) -> None:
    site.answers = {"/v": answer}

    with pytest.raises(kind, match=message):
        await get(site.url("/v"))


async def test_a_server_that_is_not_there_may_be_there_later(get: Get) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            await get(f"http://127.0.0.1:{port}/v")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
    ],
)
def test_public_is_only_what_leads_to_the_internet(address: str, public: bool) -> None:
    assert public is fetching.is_public(ip_address(address))


def _only_the_first() -> Callable[[object], bool]:
    answers = iter([True])
    return lambda _: next(answers, False)
