"""Pages for browsers: built or not, they load nothing from anywhere else, and run nothing that is written into them."""

import gzip
import os
import re
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from agentos.transports import graphiql, pages
from schema.rest.endpoints import ENDPOINTS
from tests.serving import Served

BUILT = pages.laid_out(*pages.BUILT)
built = pytest.mark.skipif(
    not BUILT and os.environ.get("CI") != "true", reason="the pages are not laid out: requirements/pages"
)
LOADED = re.compile(r'(?:src|href)="([^"]+)"')


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that reached no registry."""
    for name in pages.OWN:
        (tmp_path / name).write_bytes((pages.FOLDER / name).read_bytes())
    monkeypatch.setattr(pages, "FOLDER", tmp_path)


@built
@pytest.mark.parametrize("path", ["/docs", "/graphql"])
async def test_a_page_loads_what_it_needs_from_this_server_and_runs_nothing_else(server: Served, path: str) -> None:
    page = await server.client.get(path, headers={"accept": "text/html"})

    assert 200 == page.status_code
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert [] == re.findall(r"<script(?![^>]* src=)", page.text)
    loaded = [place for place in LOADED.findall(page.text) if not place.startswith("data:")]
    assert [200] * len(loaded) == [(await server.client.get(f"/{place}")).status_code for place in loaded]
    assert any(place.endswith(".js") for place in loaded)


@built
async def test_the_documentation_may_not_even_write_styles(server: Served) -> None:
    documentation = await server.client.get("/docs")
    explorer = await server.client.get("/graphql", headers={"accept": "text/html"})

    assert "'unsafe-inline'" not in documentation.headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline';" in explorer.headers["content-security-policy"]


@built
async def test_a_file_is_compressed_for_who_understands_it_and_sent_once(server: Served) -> None:
    name = "/pages/react.production.min.js"
    whole = await server.client.get(name, headers={"accept-encoding": "identity"})
    async with server.client.stream("GET", name, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join([block async for block in answer.aiter_raw()])

    assert "gzip" == answer.headers["content-encoding"]
    assert whole.content == gzip.decompress(raw)
    assert whole.headers["etag"] != answer.headers["etag"]
    assert "no-cache" == whole.headers["cache-control"]
    assert "accept-encoding" in whole.headers["vary"].split(", ")
    assert whole.headers["content-type"].startswith("text/javascript")
    again = await server.client.get(
        name, headers={"accept-encoding": "identity", "if-none-match": whole.headers["etag"]}
    )
    assert (304, b"") == (again.status_code, again.content)


@pytest.mark.parametrize(
    "name", ["package.json", ".npmrc", "built", "nothing.js", "..%2fapp.py", "built%2flicenses.txt"]
)
async def test_no_other_file_is_served(server: Served, name: str) -> None:
    answer = await server.client.get(f"/pages/{name}")

    assert 404 == answer.status_code


@pytest.mark.usefixtures("unbuilt")
async def test_without_its_parts_the_documentation_lists_the_endpoints_and_says_how_to_have_more(
    server: Served,
) -> None:
    page = await server.client.get("/docs")

    assert 200 == page.status_code
    assert "requirements/pages" in page.text
    assert "<script" not in page.text
    assert [] == [row.path for row in ENDPOINTS if f"{row.path}</code>" not in page.text]


@pytest.mark.usefixtures("unbuilt")
async def test_without_its_parts_the_explorer_says_so(server: Served) -> None:
    page = await server.client.get("/graphql", headers={"accept": "text/html"})

    assert 200 == page.status_code
    assert "requirements/pages" in page.text
    assert "<script" not in page.text


def test_scripts_of_ours_name_no_other_host_and_keep_no_token() -> None:
    texts = {name: (pages.FOLDER / name).read_text() for name in pages.OWN}

    assert [] == [name for name, text in texts.items() if "//" in re.sub(r"(?m)^\s*//.*$", "", text)]
    assert "shouldPersistHeaders: false" in texts["graphiql.js"]
    assert "persistAuthorization: false" in texts["docs.js"]


def test_what_pages_load_is_what_may_be_served() -> None:
    assert set(graphiql.STYLES) | set(graphiql.SCRIPTS) <= pages.BUILT.keys()


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi-3.0.json"])
async def test_the_description_is_for_everybody_and_sent_once(server: Served, path: str) -> None:
    answer = await server.client.get(path)

    assert 200 == answer.status_code
    assert "public, max-age=300" == answer.headers["cache-control"]
    validate(answer.json())
    again = await server.client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (304, b"") == (again.status_code, again.content)
