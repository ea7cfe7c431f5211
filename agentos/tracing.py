"""Trace ids: one name for everything that a call causes, from its client's log to our last line about it.

A client may bring its own as `X-Trace-Id`, or be part of a W3C trace (`traceparent`); else one is made. It goes back in
both headers, into every log line, every error and the audit trail. What does not look like an id is replaced, so that
nobody writes into our logs with it.
"""

import re
import secrets
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

trace_id: Final[ContextVar[str]] = ContextVar("trace_id", default="")
"""The trace that the running task belongs to; empty outside of any call."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_W3C = re.compile(r"[0-9a-f]{32}")
_NOTHING = "0" * 32


def new_trace_id() -> str:
    """A fresh id, fit for a W3C trace."""
    return secrets.token_hex(16)


def brought(headers: Headers) -> str:
    """The trace id a call came with, or a fresh one when it has none that is well formed."""
    own = headers.get("x-trace-id", "")
    if _ID.fullmatch(own):
        return own
    parent = _PARENT.fullmatch(headers.get("traceparent", ""))
    return parent[1] if parent and parent[1] != _NOTHING else new_trace_id()


def parent_of(trace: str) -> str | None:
    """A `traceparent` for what this server did, or None when the id is not one of a W3C trace."""
    return f"00-{trace}-{secrets.token_hex(8)}-01" if _W3C.fullmatch(trace) and trace != _NOTHING else None


class Tracing:
    """Gives every call its trace id, in `request.state.trace_id`, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        trace = brought(Headers(scope=scope))
        scope["state"] = {**scope.get("state", {}), "trace_id": trace}
        token = trace_id.set(trace)

        async def tell(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = [*message.get("headers", ()), (b"x-trace-id", trace.encode())]
                if parent := parent_of(trace):
                    headers.append((b"traceparent", parent.encode()))
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            trace_id.reset(token)
