"""What clients send, read with suspicion: how long, how deep, in which encoding, and whether it is an operation at all.

Nothing a stranger sends is parsed before its size is known, and nothing that is not strict UTF-8 JSON of at most 64
levels gets further: no lone surrogate, no NUL, no number that is none.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guards.errors import BadInput, TooLarge
from resolvers.uploads import LARGEST_FILE
from schema.rest import envelope

MOST_BYTES: Final = 256 * 1024
MOST_OF_ANY: Final = LARGEST_FILE
"""What any request may bring: a file that is larger comes in several."""

DEEPEST: Final = 64


class Operation(msgspec.Struct, frozen=True):
    """One GraphQL operation as a client asks for it."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


async def raw(request: Request, *, most: int = MOST_BYTES) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: it announces or brings more bytes than `most`; the rest is not read.
    """
    announced = request.headers.get("content-length", "0")
    too_large = TooLarge(f"the body is longer than {most} bytes")
    if not announced.isdecimal() or len(announced) > 18 or int(announced) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


def parsed(text: bytes | str, *, what: str = "the body") -> Any:
    """A JSON value.

    Raises:
        BadInput: it is not strict JSON, or nested deeper than 64 levels.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadInput(f"{what} is not valid JSON") from error
    _check(value, what)
    return value


def operation(value: Any) -> Operation:
    """The operation that a parsed body or message stands for.

    Raises:
        BadInput: it is not an object, or one of its parts is of the wrong kind.
    """
    if not isinstance(value, Mapping):
        raise BadInput("an operation is a JSON object; batches are not taken")
    query, name = value.get("query"), value.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise BadInput("query: the text of a GraphQL document is needed")
    if not isinstance(name, str | None):
        raise BadInput("operationName: a string or null is needed")
    return Operation(query, _object(value, "variables"), name or None, _object(value, "extensions"))


def _object(value: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    found = value.get(part)
    if not isinstance(found, dict | None):
        raise BadInput(f"{part}: an object or null is needed")
    return found


def _check(value: Any, what: str) -> None:
    """Walk through a value without recursion, for it may be made to exhaust the stack."""
    level: list[Any] = [value]
    for depth in range(DEEPEST + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if "\0" in item:
                    raise BadInput(f"{what} contains a NUL character")
            elif isinstance(item, dict | list) and depth == DEEPEST:
                raise BadInput(f"{what} is nested deeper than {DEEPEST} levels")
            elif isinstance(item, dict):
                deeper += item.keys()
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
        level = deeper


class Sizes:
    """Takes no request that announces or brings more than any may, whatever its path makes of it."""

    def __init__(self, app: ASGIApp, *, most: int = MOST_OF_ANY) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_large = TooLarge(f"a request has at most {self._most} bytes")
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or len(announced) > 18 or int(announced) > self._most:
            # The rest is not read, so that this is known before it is sent.
            await envelope.refused(too_large, legacy=False)(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                raise too_large
            return message

        await self._app(scope, counted, send)
