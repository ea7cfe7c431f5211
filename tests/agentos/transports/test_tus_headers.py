"""Headers of uploads: what they say is read exactly, and what cannot be meant is refused by its name."""

import base64
import hashlib

import pytest
from starlette.datastructures import Headers

from agentos.transports import tus_headers
from guards.errors import BadInput, Unsupported
from resolvers.appending import Checksum

DIGEST = hashlib.sha1(b"bytes", usedforsecurity=False).digest()


def packed(value: bytes) -> str:
    return base64.b64encode(value).decode()


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("999999999999999", 999_999_999_999_999)])
def test_a_number_of_bytes_is_read(text: str, number: int) -> None:
    assert number == tus_headers.number(Headers({"upload-offset": text}), "upload-offset")


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_0", "\u0661", "1" * 16])
def test_what_is_no_number_of_bytes_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadInput, match=r"^upload-offset: a whole number of bytes is needed$"):
        tus_headers.number(Headers(raw=[(b"upload-offset", text.encode("utf-8"))]), "upload-offset")


def test_a_body_is_there_when_it_is_announced_or_comes_in_parts() -> None:
    assert not tus_headers.brings(Headers({}))
    assert not tus_headers.brings(Headers({"content-length": "0"}))
    assert tus_headers.brings(Headers({"content-length": "1"}))
    assert tus_headers.brings(Headers({"transfer-encoding": "chunked"}))


@pytest.mark.parametrize("said", [tus_headers.STRETCH, "Application/Offset+Octet-Stream; charset=binary"])
def test_a_stretch_is_called_one(said: str) -> None:
    tus_headers.require_stretch(Headers({"content-type": said}))

    with pytest.raises(Unsupported):
        tus_headers.require_stretch(Headers({"content-type": "application/octet-stream"}))


def test_a_checksum_is_an_algorithm_and_its_digest() -> None:
    said = Headers({"upload-checksum": f"sha1 {packed(DIGEST)}"})

    assert Checksum("sha1", DIGEST) == tus_headers.checksum(said)
    assert tus_headers.checksum(Headers({})) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("md5 AAAA", "sha1 or sha256 and the digest in base64"),
        ("sha1", "no digest of sha1"),
        ("sha1 not base64!", "the value is not base64"),
        (f"sha256 {packed(DIGEST)}", "no digest of sha256"),
    ],
)
def test_a_checksum_that_is_none_is_refused(said: str, told: str) -> None:
    with pytest.raises(BadInput, match=f"^upload-checksum: .*{told}"):
        tus_headers.checksum(Headers({"upload-checksum": said}))


def test_what_is_said_of_a_file_is_unpacked() -> None:
    said = f"filename {packed('Füße.mp4'.encode())}, is_confidential,,"

    assert {"filename": "Füße.mp4", "is_confidential": ""} == tus_headers.metadata(Headers({"upload-metadata": said}))
    assert {} == tus_headers.metadata(Headers({}))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a YQ==,a YQ==", "each key is one word, and is there once"),
        ("filename !", "the value is not base64"),
        (f"filename {packed(bytes([255]))}", "filename is not UTF-8"),
    ],
)
def test_what_is_said_wrongly_of_a_file_is_refused(said: str, told: str) -> None:
    with pytest.raises(BadInput, match=f"^upload-metadata: {told}$"):
        tus_headers.metadata(Headers({"upload-metadata": said}))


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        ({}, 0),
        ({"content-length": "100"}, 0),
        ({"content-range": "bytes 0-99/100"}, 0),
        ({"content-range": "Bytes 40-99/*", "content-length": "60"}, 40),
        ({"content-range": "bytes 40-40/100"}, 40),
        ({"content-range": "bytes */100"}, None),
        ({"content-range": "bytes */*", "content-length": "0"}, None),
    ],
)
def test_where_a_body_begins_in_its_file_is_read(said: dict[str, str], begins: int | None) -> None:
    assert begins == tus_headers.beginning(Headers(said), 100)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"content-length": "99"}, "begun for 100 bytes, not 99; send a part with Content-Range"),
        ({"content-range": "bytes 0-99"}, "it must be like bytes 0-99/100"),
        ({"content-range": "bytes 0-99/101"}, "begun for 100 bytes, not 101"),
        ({"content-range": "bytes 40-39/100"}, "it does not fit the file"),
        ({"content-range": "bytes 40-100/100"}, "it does not fit the file"),
        ({"content-range": "bytes 40-99/100", "content-length": "61"}, "it does not fit the file"),
    ],
)
def test_a_body_that_does_not_fit_its_file_is_refused(said: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        tus_headers.beginning(Headers(said), 100)
