"""What a file is, told from its first bytes: the video containers taken here, and a name for everything else.

Neither the name nor the media type that a client sends is believed. That a container holds a picture at all is for the
first agent to find out; here only what cannot be a video is kept out.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import puremagic

HEAD_BYTES: Final = 4096
"""How much of the beginning is needed to tell."""

_STILLS_AND_SOUNDS: Final = frozenset(
    (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"mif1",
        b"avif",
        b"jp2 ",
        b"jpx ",
        b"crx ",
        b"M4A ",
        b"M4B ",
        b"M4P ",
        b"F4A ",
    )
)
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


class Container(msgspec.Struct, frozen=True):
    """A kind of video file."""

    media_type: str
    suffix: str
    """What its files end in, with the dot."""


MP4: Final = Container("video/mp4", ".mp4")
QUICKTIME: Final = Container("video/quicktime", ".mov")
MOBILE: Final = Container("video/3gpp", ".3gp")
MATROSKA: Final = Container("video/x-matroska", ".mkv")
WEBM: Final = Container("video/webm", ".webm")
AVI: Final = Container("video/x-msvideo", ".avi")
FLASH: Final = Container("video/x-flv", ".flv")
TRANSPORT: Final = Container("video/mp2t", ".ts")
PROGRAM: Final = Container("video/mpeg", ".mpg")
WINDOWS: Final = Container("video/x-ms-wmv", ".wmv")
OGG: Final = Container("video/ogg", ".ogv")


def container_of(head: bytes) -> Container | None:
    """The video container that a file's first bytes begin, or None.

    Args:
        head: the first `HEAD_BYTES` of the file, or all of a shorter one.
    """
    return next((found for told in _TELLERS if (found := told(head)) is not None), None)


def seems(head: bytes) -> str:
    """What a file that is no video seems to be, in a word or two for who sent it."""
    if not head.strip(b"\0"):
        return "empty space"
    try:
        return puremagic.from_string(head, mime=True) or "something unknown"
    except (puremagic.PureError, ValueError):
        pass
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return "something unknown"
    return "text"


def _iso(head: bytes) -> Container | None:
    size, kind, brand = int.from_bytes(head[:4], "big"), head[4:8], head[8:12]
    if kind == b"ftyp" and 16 <= size <= len(head):
        if brand in _STILLS_AND_SOUNDS:
            return None
        if brand == b"qt  ":
            return QUICKTIME
        return MOBILE if brand[:2] == b"3g" else MP4
    # QuickTime from before there was a type box begins with its index, or with padding and then the data.
    if kind == b"moov":
        return QUICKTIME if head[12:16] in (b"mvhd", b"cmov") else None
    padded = kind in (b"wide", b"free", b"skip") and head[size + 4 : size + 8] in (b"mdat", b"moov")
    return QUICKTIME if padded else None


def _ebml(head: bytes) -> Container | None:
    if head[:4] != b"\x1aE\xdf\xa3":
        return None
    _, found, rest = head[:128].partition(b"\x42\x82")
    kind = rest[1 : 1 + (rest[0] & 0x7F)].rstrip(b"\0") if found and rest else b""
    return {b"webm": WEBM, b"matroska": MATROSKA}.get(kind)


def _riff(head: bytes) -> Container | None:
    return AVI if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX") else None


def _flash(head: bytes) -> Container | None:
    return FLASH if head[:4] == b"FLV\x01" and head[4:5] and head[4] & 1 else None


def _packets(head: bytes) -> Container | None:
    # Five sync bytes at the distance of a packet: one or two also stand in other files by chance. Cameras put a
    # timestamp of four bytes before each packet.
    for first, distance in ((0, 188), (4, 192)):
        if len(head) > first + 4 * distance and all(head[first + n * distance] == 0x47 for n in range(5)):
            return TRANSPORT
    return None


def _program(head: bytes) -> Container | None:
    return PROGRAM if head[:4] in (b"\0\0\x01\xba", b"\0\0\x01\xb3") else None


def _windows(head: bytes) -> Container | None:
    return WINDOWS if head[:16] == _ASF else None


def _ogg(head: bytes) -> Container | None:
    return OGG if head[:4] == b"OggS" and (b"\x80theora" in head[:512] or b"\x01video\0" in head[:512]) else None


_TELLERS: Final[tuple[Callable[[bytes], Container | None], ...]] = (
    _iso,
    _ebml,
    _riff,
    _flash,
    _packets,
    _program,
    _windows,
    _ogg,
)
