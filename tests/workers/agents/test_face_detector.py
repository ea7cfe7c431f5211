"""The detector looks in the chosen moments, else everywhere."""

from pathlib import Path

from tests.videos import Videos
from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import face_detector
from workers.agents.contract import Source
from workers.agents.face_detector import Faces


async def test_it_looks_in_the_chosen_moments_only(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source())
    job.put(known.download(videos.talking()))
    job.put(known.chosen((2.0, 4.0)))

    await job.do(face_detector.AGENT)

    (face,) = job.found(Faces).tracks
    assert 2.0 <= face.start_s < face.end_s <= 4.0


async def test_without_moments_it_looks_everywhere(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source())
    job.put(known.download(videos.talking()))

    await job.do(face_detector.AGENT)

    assert 2 == len(job.found(Faces).tracks)
