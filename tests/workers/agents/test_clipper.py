"""The clipper finishes each cut and names it by what is known."""

from pathlib import Path

import pytest

from tests.videos import Videos, decoded
from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import clipper, intelligent_cropper, video_cutter
from workers.agents.clipper import Clips
from workers.agents.contract import Source
from workers.agents.video_cutter import Cuts
from workers.failures import StepFailed


@pytest.fixture
async def cut(videos: Videos, tmp_path: Path) -> Job:
    """A job up to its cuts: two moments, the first with speech."""
    job = Job(tmp_path, Source())
    job.put(known.download(videos.talking()))
    job.put(known.transcript((2.0, 3.0, "Welcome to the garden. It is large.")))
    job.put(known.chosen((2.0, 3.0), (4.6, 6.6)))
    await job.do(video_cutter.AGENT)
    return job


async def test_clips_are_cropped_loud_enough_and_have_a_still(cut: Job) -> None:
    await cut.do(intelligent_cropper.AGENT)

    await cut.do(clipper.AGENT)

    made = cut.found(Clips)
    folder = cut.benches[Clips.agent].folder
    assert [(24, 202, 360), (48, 202, 360)] == [decoded(folder / clip.path) for clip in made.clips]
    assert all((folder / str(clip.thumbnail)).read_bytes().startswith(b"\xff\xd8\xff") for clip in made.clips)
    assert [pytest.approx(-14.0, abs=1.0)] * 2 == [clip.loudness_lufs for clip in made.finished]
    assert [(folder / clip.path).stat().st_size for clip in made.clips] == [clip.size_bytes for clip in made.finished]


async def test_a_clip_starts_to_play_before_it_is_loaded_whole(cut: Job) -> None:
    await cut.do(clipper.AGENT)

    content = (cut.benches[Clips.agent].folder / cut.found(Clips).clips[0].path).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


async def test_without_a_path_clips_keep_their_shape(cut: Job) -> None:
    await cut.do(clipper.AGENT)

    assert {(640, 360)} == {(clip.width, clip.height) for clip in cut.found(Clips).clips}


async def test_a_clip_is_called_by_what_is_said_first_else_by_the_title(cut: Job) -> None:
    await cut.do(clipper.AGENT)

    assert ["Welcome to the garden.", "Garden tour (clip 2)"] == [clip.title for clip in cut.found(Clips).clips]


async def test_cuts_of_other_moments_are_refused(cut: Job) -> None:
    cut.put(Cuts(cuts=cut.found(Cuts).cuts[:1]))

    with pytest.raises(StepFailed, match="do not belong to these moments"):
        await cut.do(clipper.AGENT)
