"""tus-js-client, the client of tus that pages use, as its makers publish it."""

from pathlib import Path
from uuid import UUID

from db import uploads
from db.files import MB
from db.models.identity import Role
from db.models.work import UploadStatus
from resolvers.context import Services
from tests.clients.judging import asked, installed
from tests.serving import Served
from tests.uploading import sha256, video

SIZE = 6 * MB + 77


async def test_it_goes_on_where_it_gave_up(house: Served, tokens: dict[Role, str], tmp_path: Path) -> None:
    installed("tus-js-client")
    services: Services = house.app.state.services
    file, content = tmp_path / "holiday.mp4", video(SIZE)
    file.write_bytes(content)

    judged = await asked("tus.js", f"http://{house.host}:{house.port}/files/uploads", tokens[Role.USER], str(file))

    assert 0 == judged.status, judged.told
    went_on_at, url = judged.told.split()
    async with services.database.system() as tx:
        done = await uploads.by_id(tx, UUID(url.rpartition("/")[2]))
    assert done is not None
    assert SIZE // 2 <= int(went_on_at) < SIZE
    assert (UploadStatus.COMPLETED, "holiday.mp4", sha256(content)) == (done.status, done.filename, done.sha256)
    assert content == services.files.resolve(done.path or "").read_bytes()
