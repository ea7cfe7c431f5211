"""`/files/…`: stored files for who holds a signed link, whole or in part, straight from disk.

The link is all that is asked for; no token and no store is. A file never changes under its path, so its hash is its
ETag. A browser saves what it gets, or shows a video or an image in place when the link says so, and in either case runs
nothing of it.
"""

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import PurePath
from typing import BinaryIO, Final
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from db.files import BLOCK, Files, OutsideStore
from guards.errors import NotFound, Refusal
from guards.links import PLACE, Link, Links
from schema.rest import envelope
from schema.rest.conditions import none_match

SANDBOX: Final = "sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"
SHOWN_IN_PLACE: Final = frozenset(
    {"video/mp4", "video/webm", "video/quicktime", "video/ogg", "image/jpeg", "image/png", "image/webp"}
)
"""What may be shown in place; not SVG, which is a program."""

# Written out: what `mimetypes` knows depends on the machine.
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ogv": "video/ogg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".vtt": "text/vtt; charset=utf-8",
    ".srt": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".gz": "application/gzip",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
}
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which bytes of a file are sent."""

    start: int
    end: int
    """Exclusive."""


class Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


def routes(links: Links, files: Files) -> list[Route]:
    """Where links lead."""
    return [Route(f"{PLACE}{{token}}", _Downloads(links, files).send, methods=["GET"])]


class _Downloads:
    """Opens a link and sends its file."""

    def __init__(self, links: Links, files: Files) -> None:
        self._links = links
        self._files = files

    async def send(self, request: Request) -> Response:
        """The file of a link, or that there is none."""
        try:
            link = self._links.opened(request.path_params["token"])
            file = await asyncio.to_thread(self._opened, link)
        except Refusal as refusal:
            return envelope.refused(refusal, legacy=False)
        try:
            response = _response(request, link, file)
        except BaseException:
            file.close()
            raise
        if not isinstance(response, _Sent):
            file.close()
        return response

    def _opened(self, link: Link) -> BinaryIO:
        try:
            # Not through a link, should somebody put one in the place between the look and the opening.
            handle = os.open(self._files.resolve(link.path), os.O_RDONLY | os.O_NOFOLLOW)
        except (OutsideStore, OSError) as error:
            raise NotFound("there is no such file (any more)") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotFound("there is no such file (any more)")
        return os.fdopen(handle, "rb", buffering=0)


def _response(request: Request, link: Link, file: BinaryIO) -> Response:
    facts = os.fstat(file.fileno())
    modified = datetime.fromtimestamp(int(facts.st_mtime), UTC)
    etag = f'"{PurePath(link.path).stem}"'
    headers = _headers(link, etag, modified)
    if _unchanged(request.headers, etag, modified):
        return Response(status_code=304, headers=headers)
    try:
        part = (
            range_of(request.headers.get("range"), facts.st_size) if _still(request.headers, etag, modified) else None
        )
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{facts.st_size}"})
    sent = part or Stretch(0, facts.st_size)
    headers["content-length"] = str(sent.end - sent.start)
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{facts.st_size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return _Sent(file, sent, status, headers)


def range_of(header: str | None, size: int) -> Stretch | None:
    """The one range that is asked for; None for everything, also when the header is not understood.

    Several ranges at once are answered with everything, as RFC 9110 allows: nobody plays a video that way.

    Raises:
        Unsatisfiable: it begins behind the end.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        last = int(found[2])
        if last == 0 or size == 0:
            raise Unsatisfiable
        return Stretch(max(0, size - last), size)
    start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    if end <= start and found[2]:
        return None
    if start >= size:
        raise Unsatisfiable
    return Stretch(start, min(end, size))


def _unchanged(headers: Headers, etag: str, modified: datetime) -> bool:
    if "if-none-match" in headers:
        return none_match(headers, etag)
    since = _moment(headers.get("if-modified-since"))
    return since is not None and modified <= since


def _still(headers: Headers, etag: str, modified: datetime) -> bool:
    """Whether a range still fits what the client has of the file."""
    known = headers.get("if-range")
    return known is None or known.strip() == etag or _moment(known) == modified


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _headers(link: Link, etag: str, modified: datetime) -> dict[str, str]:
    media_type = _TYPES.get(PurePath(link.path).suffix, "application/octet-stream")
    inline = link.inline and media_type in SHOWN_IN_PLACE
    return {
        "content-type": media_type,
        "content-disposition": _disposition("inline" if inline else "attachment", link.name),
        "accept-ranges": "bytes",
        "etag": etag,
        "last-modified": format_datetime(modified, usegmt=True),
        "cache-control": "private, max-age=3600",
        "content-security-policy": SANDBOX,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


def _disposition(kind: str, name: str) -> str:
    plain = re.sub(r'[^ -~]|["\\%;]', "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _Sent(StreamingResponse):
    """Bytes of an open file, which is closed afterwards, whether they were wanted to the end or not at all."""

    def __init__(self, file: BinaryIO, stretch: Stretch, status: int, headers: dict[str, str]) -> None:
        super().__init__(self._blocks(), status_code=status, headers=headers)
        self._file = file
        self._stretch = stretch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()

    async def _blocks(self) -> AsyncIterator[bytes]:
        rest = self._stretch.end - self._stretch.start
        await asyncio.to_thread(self._file.seek, self._stretch.start)
        while rest > 0:
            block = await asyncio.to_thread(self._file.read, min(BLOCK, rest))
            if not block:
                # Shorter than it was a moment ago: a broken connection says so, a short answer would look whole.
                raise OSError("the file ended early")
            rest -= len(block)
            yield block
