"""Request bodies, read with suspicion: never more than is taken, whatever their length claims, and strict UTF-8.

A form is read part by part while it comes in; a file in it is handed on as a stream and never kept in memory.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from guards.errors import BadInput, TooLarge, Unsupported

MOST_JSON: Final = 64 * 1024
MOST_FIELD: Final = 1024
MOST_PARTS: Final = 16
FORM_ROOM: Final = 32 * 1024
"""How many bytes a form may have besides its file: boundaries, headers, fields."""


async def limited(request: Request, *, most: int) -> AsyncIterator[bytes]:
    """A body as it comes in, up to `most` bytes.

    Raises:
        TooLarge: it announces or brings more.
    """
    refusal = TooLarge(f"the body is longer than {most} bytes")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > 18 or int(announced) > most:
        raise refusal
    # What was announced may be a lie, and a chunked body announces nothing.
    came = 0
    async for block in request.stream():
        came += len(block)
        if came > most:
            raise refusal
        yield block


async def json(request: Request) -> dict[str, Any]:
    """A JSON object; an empty one for a request that sends nothing at all.

    Raises:
        Unsupported: it is announced as something else.
        TooLarge: it is longer than 64 KiB.
        BadInput: it is not JSON, or no object.
    """
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Unsupported("send JSON, as application/json")
    body = b"".join([block async for block in limited(request, most=MOST_JSON)])
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise BadInput("the body must be a JSON object") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadInput("the body is not valid JSON") from error


class Part:
    """One part of a form; take its text or its stream before you ask for the next one."""

    def __init__(self, name: str, has_file: bool, events: "_Events") -> None:
        self.name = name
        self.has_file = has_file
        """Whether the client calls it a file; under which name does not matter here."""

        self._events = events

    async def stream(self) -> AsyncIterator[bytes]:
        """What the part holds, as it comes in.

        Raises:
            BadInput: the form breaks off, or is none.
        """
        async for kind, data in self._events:
            if kind == "end":
                return
            yield data
        raise BadInput("the form breaks off")

    async def text(self) -> str:
        """A short text.

        Raises:
            BadInput: it is longer than 1 KiB or not UTF-8.
        """
        content = bytearray()
        async for data in self.stream():
            content += data
            if len(content) > MOST_FIELD:
                raise BadInput(f"{self.name}: at most {MOST_FIELD} bytes are taken")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"{self.name}: the text is not UTF-8") from error


async def form(request: Request, *, most: int) -> AsyncIterator[Part]:
    """The parts of a multipart form, in the order in which they come in.

    Args:
        most: how many bytes it may have altogether.

    Raises:
        Unsupported: the body is announced as something else.
        TooLarge: it is longer than `most`.
        BadInput: it is not a form, or has more than 16 parts.
    """
    media_type, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise Unsupported("send a form, as multipart/form-data with a boundary")
    events = _Events(limited(request, most=most), boundary)
    count = 0
    async for kind, head in events:
        if kind != "head":
            raise BadInput("the form has parts that were passed over")
        count += 1
        if count > MOST_PARTS:
            raise BadInput(f"a form has at most {MOST_PARTS} parts")
        yield _part(head, events)
    if not events.complete:
        raise BadInput("the form breaks off")


class _Events:
    """What a parser finds in a body: the head of a part (its disposition), data, the end of the part."""

    def __init__(self, blocks: AsyncIterator[bytes], boundary: bytes) -> None:
        self.complete = False
        """Whether the closing boundary was seen."""

        self._blocks = blocks
        self._found: deque[tuple[str, bytes]] = deque()
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": lambda: self._found.append(("head", self._disposition)),
                "on_part_data": lambda data, start, end: self._found.append(("data", bytes(data[start:end]))),
                "on_part_end": lambda: self._found.append(("end", b"")),
                "on_end": self._end,
            },
        )

    def __aiter__(self) -> "_Events":
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        while not self._found:
            block = await anext(self._blocks)
            try:
                self._parser.write(block)
            except FormParserError as error:
                raise BadInput("the body is not a well-formed form") from error
        return self._found.popleft()

    def _begin(self) -> None:
        self._disposition = b""

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.complete = True


def _part(disposition: bytes, events: _Events) -> Part:
    kind, options = parse_options_header(disposition)
    name = options.get(b"name", b"")
    if kind != b"form-data" or not name or len(name) > 100 or not name.isascii():
        raise BadInput("each part of a form needs a name")
    return Part(name.decode(), b"filename" in options, events)
