"""What every answer tells a browser: guess no type, frame nothing, load nothing, keep nothing, say not where from."""

from collections.abc import Iterable, Mapping
from typing import Final

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

Fields = list[tuple[bytes, bytes]]


def _raw(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


_ALWAYS: Final = _raw(ALWAYS)
_DEFAULTS: Final = _raw(DEFAULTS)


def careful(fields: Iterable[tuple[bytes, bytes]], always: Mapping[bytes, bytes] = _ALWAYS) -> Fields:
    """An answer's headers with those of every answer, also for one that does not come from the application."""
    kept = [field for field in fields if field[0] not in always]
    said = dict(kept)
    return [*kept, *always.items(), *(field for field in _DEFAULTS.items() if field[0] not in said)]


class SecurityHeaders:
    """Adds them; over plain HTTP without the promise of HTTPS."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._always = _raw({**ALWAYS, "strict-transport-security": HSTS} if https else ALWAYS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = careful(message["headers"], self._always)
            await send(message)

        await self._app(scope, receive, guarded)
