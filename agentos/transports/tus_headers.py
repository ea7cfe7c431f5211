"""What a client says in its headers of the bytes that it sends: of which file they are, from where on, how many, and
what they must add up to.

Every function raises `BadInput` for what cannot be understood; its message names the header.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

from starlette.datastructures import Headers

from guards.errors import BadInput, Unsupported
from resolvers import appending
from resolvers.appending import Checksum

STRETCH: Final = "application/offset+octet-stream"

_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,15})-([0-9]{1,15})|\*)/([0-9]{1,15}|\*)", re.IGNORECASE)
_KEY: Final = re.compile(r"[!-+\--~]+")


def number(headers: Headers, name: str) -> int:
    """A number of bytes, which must be there."""
    text = headers.get(name, "")
    if not _WHOLE.fullmatch(text):
        raise BadInput(f"{name}: a whole number of bytes is needed")
    return int(text)


def announced(headers: Headers) -> int | None:
    """How many bytes a body should have, if that is said."""
    return None if "content-length" not in headers else number(headers, "content-length")


def brings(headers: Headers) -> bool:
    """Whether a request has a body."""
    return "transfer-encoding" in headers or bool(announced(headers))


def require_stretch(headers: Headers) -> None:
    """Make sure that a body is a stretch of a file.

    Raises:
        Unsupported: it is called something else.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != STRETCH:
        raise Unsupported(f"send the bytes as {STRETCH}")


def checksum(headers: Headers) -> Checksum | None:
    """What the bytes of a body must add up to, if that is said."""
    text = headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, digest = text.partition(" ")
    if algorithm not in appending.ALGORITHMS:
        raise BadInput(f"upload-checksum: {' or '.join(appending.ALGORITHMS)} and the digest in base64 are needed")
    expected = _decoded("upload-checksum", digest)
    if len(expected) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise BadInput(f"upload-checksum: that is no digest of {algorithm}")
    return Checksum(algorithm, expected)


def metadata(headers: Headers) -> dict[str, str]:
    """What is said of a file: keys with values in base64."""
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, headers.get("upload-metadata", "").split(","))):
        key, _, value = pair.partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise BadInput("upload-metadata: each key is one word, and is there once")
        try:
            found[key] = _decoded("upload-metadata", value).decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"upload-metadata: {key} is not UTF-8") from error
    return found


def beginning(headers: Headers, size: int) -> int | None:
    """Where the body of a PUT begins in a file of that size; None when only how far it has come is asked for.

    Raises:
        BadInput: it is another file's, or has another length than its range.
    """
    length, text = announced(headers), headers.get("content-range")
    if text is None:
        if length is not None and length != size:
            raise BadInput(f"the upload was begun for {size} bytes, not {length}; send a part with Content-Range")
        return 0
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise BadInput("content-range: it must be like bytes 0-99/100")
    if found[3] not in ("*", str(size)):
        raise BadInput(f"content-range: the upload was begun for {size} bytes, not {found[3]}")
    if found[1] is None:
        return None
    start, end = int(found[1]), int(found[2]) + 1
    if not start < end <= size or length not in (None, end - start):
        raise BadInput("content-range: it does not fit the file, or the length of the body")
    return start


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{name}: the value is not base64") from error
