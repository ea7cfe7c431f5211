"""The real curl: an upload that breaks off half-way goes on with --continue-at."""

import asyncio
import re
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from db import uploads
from db.files import MB
from db.models.identity import Role
from db.models.work import UploadStatus
from db.uploads import Upload
from resolvers.context import Services
from tests.serving import Served
from tests.uploading import sha256, video
from tests.waiting import eventually, finished, until

SIZE = 12 * MB + 123
PACE = "2M"
"""Bytes a second while it is to be interrupted: slow enough to be met half-way."""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def started(token: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--header",
        f"Authorization: Bearer {token}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def curl(token: str, *arguments: str) -> str:
    """What curl prints, with the heads of answers."""
    process = await started(token, "--include", "--fail-with-body", *arguments)
    code, out, err = await finished(process)
    assert 0 == code, (out, err)
    return out.decode()


def header(answer: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*?)\r?$", answer, re.MULTILINE | re.IGNORECASE)
    assert found is not None, answer
    return found[1]


async def row(services: Services, place: str) -> Upload:
    async with services.database.system() as tx:
        found = await uploads.by_id(tx, UUID(place.rpartition("/")[2]))
    assert found is not None
    return found


async def test_it_goes_on_where_it_was_killed(house: Served, tokens: dict[Role, str], tmp_path: Path) -> None:
    services: Services = house.app.state.services
    token, base = tokens[Role.USER], f"http://{house.host}:{house.port}"
    file, content = tmp_path / "talk.mp4", video(SIZE)
    file.write_bytes(content)
    tus = ("--header", "Tus-Resumable: 1.0.0")

    created = await curl(
        token, "--request", "POST", *tus, "--header", f"Upload-Length: {SIZE}", f"{base}/files/uploads"
    )
    place = f"{base}{header(created, 'location')}"
    first = await started(token, "--limit-rate", PACE, "--upload-file", str(file), place)
    await eventually(lambda: row(services, place), lambda upload: upload.received_bytes >= 4 * MB)
    first.kill()
    await first.communicate()

    # What was on its way when it was killed is still being taken in.
    await until(lambda: not house.server.server_state.tasks)
    assert not any((services.files.root / ".spool").iterdir())
    offset = int(header(await curl(token, "--head", *tus, place), "upload-offset"))
    assert 0 < offset < SIZE
    rest = await curl(token, "--continue-at", str(offset), "--upload-file", str(file), place)

    assert "200 OK" in rest
    assert str(SIZE) == header(rest, "upload-offset")
    done = await row(services, place)
    assert (UploadStatus.COMPLETED, sha256(content)) == (done.status, done.sha256)
    assert content == services.files.resolve(done.path or "").read_bytes()


async def test_tus_by_hand_as_the_guide_shows_it(house: Served, tokens: dict[Role, str], tmp_path: Path) -> None:
    services: Services = house.app.state.services
    token, base, content = tokens[Role.USER], f"http://{house.host}:{house.port}", video(2_500)
    tus = ("--header", "Tus-Resumable: 1.0.0")
    named = ("--header", "Upload-Length: 2500", "--header", "Upload-Metadata: filename dGFsay5tcDQ=")
    created = await curl(token, "--request", "POST", *tus, *named, f"{base}/files/uploads")
    place = f"{base}{header(created, 'location')}"
    for start, end in ((0, 1_100), (1_100, 2_500)):
        (tmp_path / "rest").write_bytes(content[start:end])
        said = ("--header", f"Upload-Offset: {start}", "--header", "Content-Type: application/offset+octet-stream")
        sent = await curl(token, "--request", "PATCH", *tus, *said, "--data-binary", f"@{tmp_path / 'rest'}", place)
        assert str(end) == header(sent, "upload-offset")

    done = await row(services, place)
    assert (UploadStatus.COMPLETED, "talk.mp4", sha256(content)) == (done.status, done.filename, done.sha256)
    assert "204 No Content" in await curl(token, "--request", "DELETE", *tus, place)


async def test_all_five_endpoints_as_the_guide_calls_them(
    house: Served, tokens: dict[Role, str], tmp_path: Path
) -> None:
    services: Services = house.app.state.services
    token, base, content = tokens[Role.USER], f"http://{house.host}:{house.port}/api/v1/upload", video(2_500)
    as_json = ("--header", "Content-Type: application/json")
    begun = await curl(
        token, *as_json, "--data", '{"filename": "a.mp4", "file_size": 2500, "chunk_size": 1000}', f"{base}/init"
    )
    found = re.search(r'"id":"([^"]+)"', begun)
    assert found is not None
    for index in range(3):
        part = tmp_path / f"part{index}"
        part.write_bytes(content[index * 1000 : index * 1000 + 1000])
        form = ("--form", f"upload_id={found[1]}", "--form", f"chunk_index={index}", "--form", f"file=@{part}")
        await curl(token, *form, f"{base}/chunk")
    status = await curl(token, f"{base}/status/{found[1]}")
    await curl(token, *as_json, "--data", f'{{"upload_id": "{found[1]}", "total_chunks": 3}}', f"{base}/finalize")
    listed = await curl(token, base)

    assert '"missing":[]' in status
    assert (f'"id":"{found[1]}"' in listed, '"status":"completed"' in listed) == (True, True)
    assert sha256(content) == (await row(services, found[1])).sha256
