"""A page in a real headless browser, which reports what it found to the server that it is from."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from agentos.serving import Server, bound

PATIENCE_S: Final = 120
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--metrics-recording-only"),
)


def browser() -> str:
    """The browser's program; the test is skipped where there is none, unless everything must be tried."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    assert found is not None, f"none of {', '.join(BROWSERS)} is installed"
    return found


class Page:
    """A folder as a site of its own origin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = bound("127.0.0.1", 0)
        self.config: Mapping[str, Any] = {}
        """What the page finds at `/config.json`."""

        self.files: Mapping[str, Path] = {}
        """Files from elsewhere, by their path."""

        self.rings: Mapping[str, Callable[[], Awaitable[object]]] = {}
        """What the page can have done here, by the name after `/ring/`."""

        self._reported: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    @property
    def origin(self) -> str:
        """Where it is from."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def opened(self, folder: Path) -> dict[str, Any]:
        """Open it in a browser, and wait for its report.

        Args:
            folder: where the browser keeps what it keeps.
        """
        app = Starlette(
            routes=[
                Route("/config.json", self._configured),
                Route("/report", self._report, methods=["POST"]),
                Route("/ring/{name}", self._ring, methods=["POST"]),
                Route("/{name:path}", self._file),
            ]
        )
        server = Server(app, self._socket)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.live())
            try:
                async with _browsing(f"{self.origin}/page.html", folder), asyncio.timeout(PATIENCE_S):
                    return await self._reported
            finally:
                server.should_exit = True

    async def _configured(self, request: Request) -> Response:
        return JSONResponse(dict(self.config))

    async def _ring(self, request: Request) -> Response:
        await self.rings[request.path_params["name"]]()
        return Response(status_code=204)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self.files.get(name, self._folder / name)
        return FileResponse(path) if path.is_file() else Response(status_code=404)

    async def _report(self, request: Request) -> Response:
        self._reported.set_result(await request.json())
        return Response(status_code=204)


@asynccontextmanager
async def _browsing(url: str, folder: Path) -> AsyncIterator[None]:
    command = (browser(), *FLAGS, f"--user-data-dir={folder}", url)
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        child.terminate()
        await child.wait()
