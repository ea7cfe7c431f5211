"""Pages for browsers: `/docs`, the files they load, and the description of REST that they show.

What a page loads comes from this server and from nowhere else, and no page runs a script that is written into it. The
files are laid out by `requirements/pages`; where that was not done, a page without any script says so.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from html import escape
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from agentos import VERSION
from guards.errors import NotFound
from schema import root
from schema.rest import envelope, openapi, openapi30
from schema.rest.conditions import none_match
from schema.rest.endpoints import ENDPOINTS
from schema.rest.openapi import Document
from schema.rest.serving import newest

FOLDER: Final = Path(__file__).parent.parent / "pages"
PLACE: Final = "/pages/"

BUILT: Final = {
    "graphiql.min.css": "text/css",
    "graphiql.min.js": "text/javascript",
    "plugin-explorer.css": "text/css",
    "plugin-explorer.js": "text/javascript",
    "react-dom.production.min.js": "text/javascript",
    "react.production.min.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "licenses.txt": "text/plain",
}
"""What `requirements/pages` lays out, with its media type."""

OWN: Final = {"docs.js": "text/javascript", "graphiql.js": "text/javascript", "pages.css": "text/css"}

POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'; "
    "style-src 'self'{styles}; font-src data:; img-src 'self' data:; connect-src 'self'"
)
UNCHANGED: Final = {"cache-control": "no-cache"}
"""May be kept, and is asked about each time, so that nothing old is shown after an upgrade."""

BUILD: Final = "<p>The interactive page was not built here: <code>requirements/pages</code> does it; then reload.</p>"


def routes() -> list[Route]:
    """The paths of pages, of the files they load, and of both descriptions."""
    newer = Described(partial(openapi.described, root.schema, VERSION))
    older = Described(lambda: openapi30.lowered(openapi.described(root.schema, VERSION)))
    return [
        Route("/docs", docs),
        Route(f"{PLACE}{{name}}", file),
        Route("/openapi.json", newer.show),
        Route("/openapi-3.0.json", older.show),
    ]


async def docs(request: Request) -> Response:
    """The endpoints to be read and tried."""
    if not laid_out("swagger-ui-bundle.js", "swagger-ui.css"):
        return plain("AgentOS REST", BUILD + _listed())
    return page(
        "AgentOS REST",
        '<div id="docs"></div>',
        styles=("swagger-ui.css",),
        scripts=("swagger-ui-bundle.js", "docs.js"),
    )


async def file(request: Request) -> Response:
    """A file that a page loads, compressed where that is understood."""
    name = request.path_params["name"]
    found = FOLDER / name if name in OWN else FOLDER / "built" / name
    if name not in OWN | BUILT or not found.is_file():
        return envelope.refused(NotFound("there is no such file"), legacy=False)
    headers = {**UNCHANGED, "vary": "accept-encoding"}
    smaller = found.with_name(f"{name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and smaller.is_file():
        found, headers["content-encoding"] = smaller, "gzip"
    facts = found.stat()
    headers["etag"] = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    if none_match(request.headers, headers["etag"]):
        return Response(status_code=304, headers=headers)
    content = await asyncio.to_thread(found.read_bytes)
    return Response(content, media_type=(OWN | BUILT)[name], headers=headers)


class Described:
    """One description, made when it is first asked for."""

    def __init__(self, made: Callable[[], Document]) -> None:
        self._made = made
        self._kept: bytes | None = None

    async def show(self, request: Request) -> Response:
        """The whole of it, or that it is as it was."""
        if self._kept is None:
            self._kept = msgspec.json.encode(await asyncio.to_thread(self._made))
        etag = f'"{hashlib.sha256(self._kept).hexdigest()[:32]}"'
        headers = {"etag": etag, "cache-control": "public, max-age=300"}
        if none_match(request.headers, etag):
            return Response(status_code=304, headers=headers)
        return Response(self._kept, media_type="application/json", headers=headers)


def laid_out(*names: str) -> bool:
    """Whether files that a page loads are there."""
    return all((FOLDER / "built" / name).is_file() for name in names)


def page(
    title: str, body: str, *, styles: Iterable[str], scripts: Iterable[str], inline_styles: bool = False
) -> Response:
    """A page that is drawn by scripts of ours.

    Args:
        inline_styles: whether a script of it writes style elements, and may.
    """
    loaded = "".join(f'<script src="{PLACE[1:]}{name}"></script>' for name in scripts)
    policy = POLICY.format(styles=" 'unsafe-inline'" if inline_styles else "")
    return HTMLResponse(
        _html(title, f"{body}{loaded}", ("pages.css", *styles)), headers={"content-security-policy": policy}
    )


def plain(title: str, body: str) -> Response:
    """A page that needs nothing."""
    return HTMLResponse(
        _html(title, f"<main><h1>{escape(title)}</h1>{body}</main>", ("pages.css",)),
        headers={"content-security-policy": POLICY.format(styles="")},
    )


def _html(title: str, body: str, styles: Iterable[str]) -> str:
    linked = "".join(f'<link rel="stylesheet" href="{PLACE[1:]}{name}">' for name in styles)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">{linked}</head><body>{body}</body></html>'
    )


def _listed() -> str:
    rows = "".join(
        f"<tr><td>{row.method}</td><td><code>{escape(newest(row))}</code></td><td>{escape(row.summary)}</td></tr>"
        for row in ENDPOINTS
    )
    return (
        '<p>The same for machines: <a href="openapi.json">OpenAPI 3.1</a>, '
        f'<a href="openapi-3.0.json">OpenAPI 3.0</a>.</p><table>{rows}</table>'
    )
