"""The analyzer tells what is in the downloaded video, and reports its way through it."""

from pathlib import Path

import pytest

from tests.videos import Videos
from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import video_analyzer
from workers.agents.contract import Source
from workers.agents.video_analyzer import Analysis
from workers.failures import StepFailed


async def test_it_looks_the_video_through(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source())
    job.put(known.download(videos.talking()))

    await job.do(video_analyzer.AGENT)

    assert 6 == len(job.found(Analysis).findings.scenes)
    shares = job.benches[Analysis.agent].shares
    assert sorted(shares) == shares


async def test_it_needs_a_video(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="needs the output of video-downloader"):
        await Job(tmp_path, Source()).do(video_analyzer.AGENT)
