"""The downloader brings in files and addresses, says what they are, and refuses in plain words."""

import hashlib
from pathlib import Path

import pytest

from tests.videos import Videos
from tests.workers.agents.bench import Job
from workers.agents import video_downloader
from workers.agents.contract import Source
from workers.agents.video_downloader import Download
from workers.failures import StepFailed


async def test_a_file_stays_where_it_is(videos: Videos, tmp_path: Path) -> None:
    path = videos.silent()
    job = Job(tmp_path, Source(file=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))

    await job.do(video_downloader.AGENT)

    found = job.found(Download)
    assert (str(path), "Silent 4") == (found.path, found.title)
    assert [] == list(job.benches[Download.agent].folder.iterdir())


async def test_the_given_title_is_kept(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source(file=videos.silent(), title="  My   holiday "))

    await job.do(video_downloader.AGENT)

    assert "My holiday" == job.found(Download).title


async def test_a_source_is_a_file_or_an_address(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="a job has either a file or an address"):
        await Job(tmp_path, Source()).do(video_downloader.AGENT)


async def test_a_configured_limit_is_kept(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source(file=videos.silent()), config={"max_duration_s": 3})

    with pytest.raises(StepFailed, match=r"the video lasts 4\.0 s; at most 3\.0 s are taken"):
        await job.do(video_downloader.AGENT)


async def test_a_job_cannot_lift_the_limit(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source(file=videos.silent()), options={"max_duration_s": 9}, config={"max_duration_s": 3})

    with pytest.raises(StepFailed, match="at most"):
        await job.do(video_downloader.AGENT)
