"""What is answered of a snapshot: its bodies, each made once in each content coding, and kept as long as the version.

Whoever asks first has it made; who asks meanwhile waits for the same, and who asks later gets the same bytes. They
belong to the copy of the snapshot that a process holds, so those of an old version go when a newer one takes its place.
"""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import brotli  # type: ignore[import-untyped]  # it ships no types; one function of it is used
import msgspec
import zstandard

from dataloaders.snapshot.flights import Flights


class Coding(StrEnum):
    """How the bytes of a body are packed, as HTTP calls it; the smallest first."""

    ZSTD = "zstd"
    BROTLI = "br"
    GZIP = "gzip"
    IDENTITY = "identity"


Write = Callable[[bytes], bytes]
"""Makes a body of a snapshot's JSON; the function itself is what tells one body from another."""

Pack = Callable[[bytes], bytes]


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=9).compress(content)


def _brotli(content: bytes) -> bytes:
    packed: bytes = brotli.compress(content, quality=5)
    return packed


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)


PACKED: Final[Mapping[Coding, Pack]] = MappingProxyType(
    {Coding.ZSTD: _zstd, Coding.BROTLI: _brotli, Coding.GZIP: _gzip}
)
"""Levels that take about a millisecond for a snapshot; the next better ones take ten for a few bytes less."""


class Body(msgspec.Struct, frozen=True):
    """The bytes of an answer."""

    content: bytes
    coding: Coding
    tag: str
    """Of these bytes and no others, whoever made them; quoted, as a strong `ETag` is written."""


class Encoder:
    """Packs bodies for one process, away from its event loop."""

    def __init__(self, packed: Mapping[Coding, Pack] = PACKED) -> None:
        self._packed = packed
        self._flights = Flights[Body]()

    def bodies(self, encoded: bytes) -> "Bodies":
        """The bodies of one version, given as JSON; none is made yet."""
        return Bodies(encoded, self._packed, self._flights)

    async def close(self) -> None:
        """Wait no longer for what is being packed."""
        await self._flights.close()


class Bodies:
    """The bodies of one version."""

    def __init__(self, encoded: bytes, packed: Mapping[Coding, Pack], flights: Flights[Body]) -> None:
        self.encoded = encoded
        """The snapshot's JSON, byte for byte as it is stored."""

        self._packed = packed
        self._flights = flights
        self._made: dict[tuple[Write, Coding], Body] = {}

    def made(self, write: Write, coding: Coding) -> Body | None:
        """One that is there already, or None."""
        return self._made.get((write, coding))

    async def of(self, write: Write, coding: Coding) -> Body:
        """One of them, made if it is not there; whatever `write` raises is raised here."""
        made = self.made(write, coding)
        if made is not None:
            return made
        plain = self.made(write, Coding.IDENTITY) or self._keep(write, Coding.IDENTITY, write(self.encoded))
        if coding is Coding.IDENTITY:
            return plain
        return await self._flights.join((self, write, coding), lambda: self._pack(write, coding, plain.content))

    async def _pack(self, write: Write, coding: Coding, content: bytes) -> Body:
        return self._keep(write, coding, await asyncio.to_thread(self._packed[coding], content))

    def _keep(self, write: Write, coding: Coding, content: bytes) -> Body:
        tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
        body = self._made[write, coding] = Body(content, coding, tag)
        return body
