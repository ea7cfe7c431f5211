"""The ceiling: a bare Starlette route that returns the bytes of a file, and nothing around it."""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(body: bytes) -> Starlette:
    """One route."""

    async def same(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/", same, methods=["GET", "POST"])])


if __name__ == "__main__":
    uvicorn.run(app(Path(sys.argv[2]).read_bytes()), port=int(sys.argv[1]), log_level="critical", access_log=False)
