"""Eleven agents, ten of them in the default chain; together they turn a video into clips."""

import hashlib
import time
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import cv2
import pytest

from tests.videos import Videos, decoded
from tests.workers.agents.bench import Job
from workers.agents import registry
from workers.agents.clipper import Clips
from workers.agents.contract import Category, Source
from workers.agents.script_generator import Script
from workers.agents.social_post_generator import Posts
from workers.agents.video_analyzer import Analysis
from workers.agents.voiceover_creator import Voiceover
from workers.media import sample


def test_there_are_eleven_agents_in_five_categories() -> None:
    assert 11 == len(registry.AGENTS)
    assert set(Category) == {agent.category for agent in registry.AGENTS.values()}
    assert all(agent_id == agent.id == agent.output.agent for agent_id, agent in registry.AGENTS.items())


def test_the_default_chain_is_all_but_the_voiceover() -> None:
    assert (*registry.DEFAULT_CHAIN, Voiceover.agent) == tuple(registry.AGENTS)


def test_agents_of_other_projects_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, "workers.agents.clipper:AGENT")
    with pytest.raises(registry.BadAgent, match="calls itself clipper, which is taken"):
        registry.discovered()

    _offer(monkeypatch, "workers.agents.clipper:run")
    with pytest.raises(registry.BadAgent, match="is offered as an agent but is none"):
        registry.discovered()

    _offer(monkeypatch)
    assert registry.AGENTS == registry.discovered()


@pytest.mark.slow
async def test_the_demo_video_becomes_clips(tmp_path: Path) -> None:
    source = tmp_path / "a day with the presenter.mp4"
    sample.write_sample(str(source))
    job = Job(tmp_path, Source(file=source, title="A day with the presenter"))
    begun = time.monotonic()

    await job.go_through(registry.DEFAULT_CHAIN)

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

    await job.go_through(registry.DEFAULT_CHAIN)

    clips = job.found(Clips).clips
    assert clips
    for clip in clips:
        frames, width, height = decoded(job.benches[Clips.agent].folder / clip.path)
        assert frames > 5
        assert width == height
        assert (0, 0) == (width % 2, height % 2)


def _offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Stand in for what is installed beside us."""
    offers = EntryPoints(EntryPoint(name="other", value=value, group=registry.GROUP) for value in values)
    monkeypatch.setattr(registry, "entry_points", lambda group: offers.select(group=group))
