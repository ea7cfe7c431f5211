"""Eleven agents, ten of them in the default chain; together they turn a video into clips."""

import hashlib
import time
from pathlib import Path

import cv2
import pytest

from tests.videos import Videos, decoded
from tests.workers.agents.bench import Job
from workers.agents import registry, roster
from workers.agents.clipper import Clips
from workers.agents.contract import Source
from workers.agents.script_generator import Script
from workers.agents.social_post_generator import Posts
from workers.agents.video_analyzer import Analysis
from workers.media import sample


def test_the_house_has_just_the_agents_of_its_roster() -> None:
    assert [known.id for known in roster.ROSTER] == list(registry.AGENTS)
    assert all(agent_id == agent.id == agent.output.agent for agent_id, agent in registry.AGENTS.items())


@pytest.mark.slow
async def test_the_demo_video_becomes_clips(tmp_path: Path) -> None:
    source = tmp_path / "a day with the presenter.mp4"
    sample.write_sample(str(source))
    job = Job(tmp_path, Source(file=source, title="A day with the presenter"))
    begun = time.monotonic()

    await job.go_through(roster.DEFAULT_CHAIN)

    print(f"\nthe whole chain took {time.monotonic() - begun:.1f} s")
    assert {} == job.skipped
    made = job.found(Clips)
    assert 2 <= len(made.clips)
    for clip, measured in zip(made.clips, made.finished, strict=True):
        path = job.benches[Clips.agent].folder / clip.path
        frames, width, height = decoded(path)
        assert (clip.width, clip.height) == (width, height) == (202, 360)
        assert pytest.approx(clip.duration_s * 24, abs=1.5) == frames
        assert hashlib.sha256(path.read_bytes()).hexdigest() == measured.sha256
        assert measured.loudness_lufs is None or abs(measured.loudness_lufs + 14) < 1
        assert clip.thumbnail is not None
        still = cv2.imread(str(job.benches[Clips.agent].folder / clip.thumbnail))
        assert still is not None
        assert (height, width, 3) == still.shape
        assert pytest.approx(clip.score, abs=0.11) == sum(reason.points for reason in clip.reasons)
    assert job.found(Script).hook
    assert 5 == len(job.found(Posts).posts)
    assert 6 == len(job.found(Analysis).findings.scenes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", [Videos.silent, Videos.odd, Videos.turned, Videos.cut_off, Videos.declared_long, Videos.far_apart]
)
async def test_odd_videos_go_all_the_way(made: object, videos: Videos, tmp_path: Path) -> None:
    """Silent, odd-sized, turned, cut off, wrong about their length: each still becomes a clip."""
    assert callable(made)
    job = Job(tmp_path, Source(file=made(videos)), options={"aspect": "1:1"})

    await job.go_through(roster.DEFAULT_CHAIN)

    clips = job.found(Clips).clips
    assert clips
    for clip in clips:
        frames, width, height = decoded(job.benches[Clips.agent].folder / clip.path)
        assert frames > 5
        assert width == height
        assert (0, 0) == (width % 2, height % 2)
