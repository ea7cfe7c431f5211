"""The ceiling: a bare Starlette WebSocket that sends everybody who is there the same text, and nothing around it."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

here: set[WebSocket] = set()


async def listen(websocket: WebSocket) -> None:
    """Take whatever comes, until the client goes."""
    await websocket.accept(websocket.scope["subprotocols"][0])
    here.add(websocket)
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        here.discard(websocket)


async def tell(request: Request) -> Response:
    """Send everybody the body of the request."""
    text = (await request.body()).decode()
    for websocket in tuple(here):
        await websocket.send_text(text)
    return Response()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/", listen), Route("/", tell, methods=["POST"])]),
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
    )
