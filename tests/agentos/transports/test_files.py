"""A signed link gives its file, whole or in part, and a browser nothing to run."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from agentos.transports import files as transport
from db.files import FileKind, Files
from guards.links import Links

CONTENT = bytes(range(256)) * 3_000
"""Three blocks, so that a stretch goes over their edges."""

ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
SIZE = len(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


@pytest.fixture
def links() -> Links:
    return Links(b"tests" * 8, "http://files.test")


@pytest_asyncio.fixture
async def client(links: Links, store: Files) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=transport.routes(links, store))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files.test") as opened:
        yield opened


async def stored(store: Files, suffix: str = ".mp4", content: bytes = CONTENT) -> str:
    made = store.root / f"made{suffix}"
    made.write_bytes(content)
    return (await store.adopt(made, "default", FileKind.CLIPS)).path


@pytest_asyncio.fixture
async def address(links: Links, store: Files) -> str:
    return links.to("default", await stored(store), "My clip.mp4", inline=True)


async def test_a_link_gives_the_whole_file(client: httpx.AsyncClient, address: str) -> None:
    response = await client.get(address)

    assert (200, CONTENT) == (response.status_code, response.content)
    shown = {
        "content-type": "video/mp4",
        "content-length": str(SIZE),
        "content-disposition": "inline; filename=\"My clip.mp4\"; filename*=UTF-8''My%20clip.mp4",
        "accept-ranges": "bytes",
        "etag": ETAG,
        "cache-control": "private, max-age=3600",
        "x-content-type-options": "nosniff",
        "content-security-policy": transport.SANDBOX,
        "referrer-policy": "no-referrer",
    }
    assert shown == {name: response.headers[name] for name in shown}


RANGES = [
    ("bytes=0-0", 206, (0, 1)),
    ("bytes=0-99", 206, (0, 100)),
    ("bytes=262000-262300", 206, (262000, 262301)),
    ("bytes=100-", 206, (100, SIZE)),
    ("bytes=-100", 206, (SIZE - 100, SIZE)),
    (f"bytes=-{SIZE + 5}", 206, (0, SIZE)),
    (f"bytes={SIZE - 1}-{SIZE + 1000}", 206, (SIZE - 1, SIZE)),
    ("BYTES=5-9", 206, (5, 10)),
    (f"bytes={SIZE}-", 416, None),
    (f"bytes={SIZE}-{SIZE + 1}", 416, None),
    ("bytes=-0", 416, None),
    ("bytes=9-5", 200, (0, SIZE)),
    ("bytes=-", 200, (0, SIZE)),
    ("bytes=a-b", 200, (0, SIZE)),
    ("bytes=0-1,5-6", 200, (0, SIZE)),
    ("items=0-1", 200, (0, SIZE)),
    ("bytes=" + "9" * 40 + "-", 200, (0, SIZE)),
]


@pytest.mark.parametrize(("asked", "status", "given"), RANGES)
async def test_a_range_gives_its_bytes(
    client: httpx.AsyncClient, address: str, asked: str, status: int, given: tuple[int, int] | None
) -> None:
    response = await client.get(address, headers={"range": asked})
    head = await client.head(address, headers={"range": asked})

    assert status == response.status_code == head.status_code
    if given is None:
        assert (b"", f"bytes */{SIZE}") == (response.content, response.headers["content-range"])
        return
    start, end = given
    assert CONTENT[start:end] == response.content
    partial = f"bytes {start}-{end - 1}/{SIZE}" if status == 206 else None
    assert partial == response.headers.get("content-range") == head.headers.get("content-range")
    assert (b"", str(end - start)) == (head.content, head.headers["content-length"])


async def test_a_range_of_an_older_version_gives_the_whole(client: httpx.AsyncClient, address: str) -> None:
    known = (await client.head(address)).headers
    statuses = {}
    for name, value in {"etag": ETAG, "date": known["last-modified"], "other": '"other"', "junk": "junk"}.items():
        response = await client.get(address, headers={"range": "bytes=0-9", "if-range": value})
        statuses[name] = response.status_code

    assert {"etag": 206, "date": 206, "other": 200, "junk": 200} == statuses


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if-none-match", ETAG, 304),
        ("if-none-match", f'"x", W/{ETAG}', 304),
        ("if-none-match", "*", 304),
        ("if-none-match", '"x"', 200),
        ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("if-modified-since", "yesterday", 200),
    ],
)
async def test_what_a_client_has_is_not_sent_again(
    client: httpx.AsyncClient, address: str, name: str, value: str, status: int
) -> None:
    response = await client.get(address, headers={name: value})

    assert (status, ETAG) == (response.status_code, response.headers["etag"])
    assert (b"" if status == 304 else CONTENT) == response.content


@pytest.mark.parametrize("suffix", [".html", ".svg", ".json", ".xyz", ""])
async def test_what_could_run_is_saved_even_when_the_link_says_inline(
    client: httpx.AsyncClient, links: Links, store: Files, suffix: str
) -> None:
    address = links.to("default", await stored(store, suffix), "page" + suffix, inline=True)

    response = await client.get(address)

    assert response.headers["content-disposition"].startswith("attachment;")
    assert response.headers["content-type"] in {"application/octet-stream", "application/json"}


async def test_a_link_saves_unless_it_says_otherwise(client: httpx.AsyncClient, links: Links, store: Files) -> None:
    address = links.to("default", await stored(store), "clip.mp4")

    assert (await client.get(address)).headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "name", ['a"; filename="b.exe', "a\r\nset-cookie: x=1", "\u202egpj.exe", "clip;\\.mp4", "é.mp4"]
)
async def test_a_name_stays_within_its_quotes(client: httpx.AsyncClient, links: Links, store: Files, name: str) -> None:
    response = await client.get(links.to("default", await stored(store), name))

    disposition = response.headers["content-disposition"]
    assert 2 == disposition.count('"')
    assert "set-cookie" not in response.headers
    assert 3 == len(disposition.split("; "))


async def test_a_link_that_is_changed_expired_or_empty_gives_nothing(
    client: httpx.AsyncClient, links: Links, store: Files, address: str
) -> None:
    path = await stored(store)
    gone = await stored(store, ".png", b"soon gone")
    store.resolve(gone).unlink()
    (store.root / "default/out.mp4").symlink_to("/etc/passwd")
    addresses = {
        "changed": address[:-1] + ("A" if address[-1] != "A" else "B"),
        "expired": links.to("default", path, "a.mp4", ttl=timedelta(seconds=1), now=1_700_000_000),
        "gone": links.to("default", gone, "a.png"),
        "climbing": links.to("default", "default/../../../etc/passwd", "passwd"),
        "a symbolic link": links.to("default", "default/out.mp4", "out.mp4"),
        "a folder": links.to("default", "default/clips", "clips"),
        "other secret": Links(b"other" * 8, "http://files.test").to("default", path, "a.mp4"),
    }

    answers = {name: await client.get(url) for name, url in addresses.items()}

    expected = dict.fromkeys(addresses, (404, "NOT_FOUND")) | {"expired": (403, "FORBIDDEN")}
    assert expected == {name: (answer.status_code, answer.json()["error_code"]) for name, answer in answers.items()}


async def test_only_reading_is_served(client: httpx.AsyncClient, address: str) -> None:
    assert {405} == {(await client.request(method, address)).status_code for method in ("POST", "PUT", "DELETE")}
