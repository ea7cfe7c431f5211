"""What every answer tells a browser: guess no type, frame nothing, load nothing, keep nothing, say not where from."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
DEFAULTS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cache-control": "no-store",
}
"""What a route may say differently, for a page it serves or a file that may be kept."""

HSTS: Final = "max-age=31536000; includeSubDomains"


def careful(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's headers with those of every answer, for one that does not come from the application."""
    headers = MutableHeaders(raw=fields)
    headers.update(ALWAYS)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    return headers.raw


class SecurityHeaders:
    """Adds them; over plain HTTP without the promise of HTTPS."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._always = {**ALWAYS, "strict-transport-security": HSTS} if https else ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    headers[name] = value
                for name, value in DEFAULTS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)
