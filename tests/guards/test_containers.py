"""Videos are told by their bytes, and so is everything that only calls itself one."""

import pytest

from guards import containers
from guards.containers import Container


def box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def ebml(kind: bytes) -> bytes:
    return b"\x1aE\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(kind)]) + kind + b"\x42\x87\x81\x04"


VIDEOS = {
    "mp4": (box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"), containers.MP4),
    "fragmented mp4": (box(b"ftyp", b"iso5\0\0\2\0iso5dash"), containers.MP4),
    "mov": (box(b"ftyp", b"qt  \0\0\2\0qt  "), containers.QUICKTIME),
    "old mov, index first": (box(b"moov", box(b"mvhd", bytes(100))), containers.QUICKTIME),
    "old mov, data first": (box(b"wide", b"") + box(b"mdat", bytes(50)), containers.QUICKTIME),
    "3gp": (box(b"ftyp", b"3gp5\0\0\1\x003gp5"), containers.MOBILE),
    "webm": (ebml(b"webm"), containers.WEBM),
    "mkv": (ebml(b"matroska"), containers.MATROSKA),
    "avi": (b"RIFF\0\1\0\0AVI LIST", containers.AVI),
    "flv": (b"FLV\x01\x05\0\0\0\x09", containers.FLASH),
    "ts": ((b"\x47" + bytes(187)) * 6, containers.TRANSPORT),
    "m2ts": ((bytes(4) + b"\x47" + bytes(187)) * 6, containers.TRANSPORT),
    "mpg": (b"\0\0\x01\xba" + bytes(20), containers.PROGRAM),
    "wmv": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(30), containers.WINDOWS),
    "ogv": (b"OggS\0\2" + bytes(22) + b"\x80theora", containers.OGG),
}
OTHERS = {
    "nothing": b"",
    "zeros": bytes(4096),
    "text": b"just some words " * 30,
    "utf-8 text cut in a letter": ("ü" * 2000).encode()[:4095],
    "script": b"#!/bin/sh\necho owned\n",
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zip": b"PK\x03\x04" + bytes(50),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
    "exe": b"MZ" + bytes(100),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(40),
    "heic": box(b"ftyp", b"heic\0\0\0\0mif1heic"),
    "avif": box(b"ftyp", b"avif\0\0\0\0avifmif1"),
    "m4a": box(b"ftyp", b"M4A \0\0\2\0M4A mp42"),
    "wav": b"RIFF\0\1\0\0WAVEfmt ",
    "webp": b"RIFF\0\1\0\0WEBPVP8 ",
    "mp3": b"ID3\x03\0\0\0\0\0\x21" + bytes(50),
    "ogg vorbis": b"OggS\0\2" + bytes(22) + b"\x01vorbis",
    "flv with sound alone": b"FLV\x01\x04\0\0\0\x09",
    "ebml of another kind": ebml(b"nothing"),
    "one sync byte": b"\x47" + bytes(1000),
    "ftyp too late": b"\0\0\0\0\0\0\0\0" + box(b"ftyp", b"isom\0\0\2\0"),
    "ftyp of no length": b"\0\0\0\x08ftyp",
    "a name in front of junk": b"moov.mp4 is my name",
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_told_by_its_first_bytes(name: str) -> None:
    head, expected = VIDEOS[name]

    assert expected == containers.container_of(head)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_video_is_none_and_can_be_named(name: str) -> None:
    head = OTHERS[name]

    assert containers.container_of(head) is None
    assert containers.seems(head)


@pytest.mark.parametrize("name", VIDEOS)
def test_a_beginning_cut_off_anywhere_is_told_right_or_not_at_all(name: str) -> None:
    head, expected = VIDEOS[name]
    told: set[Container | None] = {containers.container_of(head[:length]) for length in range(len(head))}

    assert told <= {expected, None}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("pdf", "application/pdf"), ("png", "image/png"), ("script", "text"), ("zeros", "empty space")],
)
def test_a_refusal_says_what_it_seems_to_be(name: str, expected: str) -> None:
    assert expected == containers.seems(OTHERS[name])
