"""Uploads that are broken off and resumed, by the client that browsers use for tus."""

import json
from pathlib import Path

from db.models.identity import Role
from tests.clients.judging import asked, installed
from tests.serving import Served
from tests.uploading import video


async def test_an_upload_goes_on_from_where_it_broke_off(
    house: Served, tokens: dict[Role, str], tmp_path: Path
) -> None:
    installed("tus-js-client")
    file = tmp_path / "holiday.mp4"
    file.write_bytes(video(40_000))
    place = f"http://{house.host}:{house.port}/files/uploads"

    judged = await asked("resumed.js", place, tokens[Role.USER], str(file))

    assert 0 == judged.status, judged.told
    told = json.loads(judged.told.splitlines()[-1])
    assert 10_000 == told["after"]
    head = await house.client.head(
        told["url"], headers={"authorization": f"Bearer {tokens[Role.USER]}", "tus-resumable": "1.0.0"}
    )
    assert "40000" == head.headers["upload-offset"]
