"""The cutter makes one file of each moment, in its own folder."""

from pathlib import Path

from tests.videos import Videos, decoded
from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import video_cutter
from workers.agents.contract import Source
from workers.agents.video_cutter import Cuts


async def test_each_moment_becomes_a_file(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source())
    job.put(known.download(videos.talking()))
    job.put(known.chosen((4.0, 5.0), (0.0, 0.5)))

    await job.do(video_cutter.AGENT)

    cuts = job.found(Cuts).cuts
    assert [24, 12] == [decoded(Path(cut.path))[0] for cut in cuts]
    assert {job.benches[Cuts.agent].folder} == {Path(cut.path).parent for cut in cuts}
