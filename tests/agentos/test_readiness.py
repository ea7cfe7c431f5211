"""An API is ready when it says so; whoever does not answer in HTTP is not there."""

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from agentos.readiness import Silent, asked
from tests.waiting import PATIENCE_S


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Somebody who answers everybody the same, and the first lines of what they were asked."""
    heard: list[bytes] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


async def ask(base: str) -> tuple[int, str]:
    return await asyncio.to_thread(asked, base, timeout_s=PATIENCE_S)


async def test_it_says_what_the_api_says() -> None:
    async with answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\ndraining") as (base, heard):
        told = await ask(base), await ask(f"{base}/behind")

    assert ((503, "draining"), (503, "draining")) == told
    assert [b"GET /readyz HTTP/1.1", b"GET /behind/readyz HTTP/1.1"] == heard


@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x01", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n-"])
async def test_who_does_not_speak_http_to_the_end_is_silent(answer: bytes) -> None:
    async with answering(answer) as (base, _):
        with pytest.raises(Silent):
            await ask(base)


async def test_an_ipv6_address_needs_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready") as (base, _):
        # Nobody but root listens on port 80.
        monkeypatch.setattr(http.client.HTTPConnection, "default_port", urlsplit(base).port)

        assert (200, "ready") == await ask("http://[::ffff:127.0.0.1]")


@pytest.mark.parametrize(
    "base",
    ["http://:::8001", "http://[::1", "http://127.0.0.1:port", "http://127.0.0.1/über", f"http://{'a' * 64}.test"],
)
async def test_what_is_no_address_is_silent(base: str) -> None:
    with pytest.raises(Silent):
        await ask(base)


async def test_who_is_not_there_is_silent() -> None:
    async with answering(b"") as (base, _):
        pass

    with pytest.raises(Silent):
        await ask(base)
