"""Subscriptions as the parts of one answer, as Apollo's clients and routers take them (`subscriptionSpec=1.0`).

A part is complete to its reader when the boundary behind it is there, so each is sent with the next one's boundary.
`{}` says that nothing has happened. It follows soon behind an answer as well: some readers (aiohttp, so gql)
hand out a part only once more than its boundary has come. What ends a subscription otherwise than by itself is told in
a part without a payload, as an error of the protocol and not of an answer, with the cursor to ask for the rest after.
"""

from typing import ClassVar, Final

import msgspec
from starlette.datastructures import Headers

from agentos.transports.flows import Error
from db.events import Cursor
from schema.watching import Told

BEAT_S: Final = 5.0
ECHO_S: Final = 0.05
BOUNDARY: Final = b"\r\n--graphql"
HEAD: Final = b"\r\ncontent-type: application/json\r\n\r\n"
END: Final = b"--\r\n"


class Parts:
    """How such an answer is written."""

    kind: ClassVar = "multipart"
    media_type: ClassVar = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
    """The boundary without quotation marks: gql for one takes no others for what it asked for."""

    beat: ClassVar = HEAD + b"{}" + BOUNDARY

    echo_s: ClassVar[float | None] = ECHO_S

    def __init__(self, *, beat_s: float = BEAT_S) -> None:
        self.beat_s = beat_s

    def opening(self) -> bytes:
        """The first boundary."""
        return BOUNDARY

    def place(self, cursor: Cursor) -> bytes:
        """Nothing: a part is an answer, an error or nothing at all."""
        return b""

    def answer(self, told: Told) -> bytes:
        """One answer."""
        return b"".join((HEAD, b'{"payload":', told.body, b"}", BOUNDARY))

    def completed(self) -> bytes:
        """That the boundary before it was the last."""
        return END

    def refused(self, error: Error) -> bytes:
        """Why no other answer will come."""
        return HEAD + msgspec.json.encode({"payload": None, "errors": [error]}) + BOUNDARY + END

    def interrupted(self, error: Error) -> bytes:
        """Why the rest has to be asked for: none of these clients does so without being told."""
        return self.refused(error)


def accepted(headers: Headers) -> bool:
    """Whether a client takes a subscription in parts."""
    for each in headers.get("accept", "").split(","):
        name, *parameters = (part.strip().lower().replace('"', "") for part in each.split(";"))
        if name == "multipart/mixed" and "subscriptionspec=1.0" in parameters:
            return True
    return False
