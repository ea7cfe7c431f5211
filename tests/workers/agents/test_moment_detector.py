"""The detector keeps to what the job asks for."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import moment_detector
from workers.agents.contract import Source
from workers.agents.moment_detector import Moments
from workers.agents.wishes import LONGEST_CLIP_S, SHORTEST_CLIP_S
from workers.failures import StepFailed


def job_with(folder: Path, **options: Any) -> Job:
    job = Job(folder, Source(), options=options)
    job.put(known.download(duration_s=120.0))
    job.put(known.analysis(120.0))
    return job


async def test_it_finds_moments_of_the_usual_length(tmp_path: Path) -> None:
    job = job_with(tmp_path)

    await job.do(moment_detector.AGENT)

    found = job.found(Moments).moments
    assert found[0].start_s >= 60.0, "where it moves"
    assert all(15.0 <= moment.end_s - moment.start_s <= 60.0 for moment in found)


async def test_it_keeps_to_the_wishes_of_the_job(tmp_path: Path) -> None:
    job = job_with(tmp_path, min_s=5, max_s=8, max_clips=3)

    await job.do(moment_detector.AGENT)

    found = job.found(Moments).moments
    assert 3 == len(found)
    assert all(5.0 <= moment.end_s - moment.start_s <= 8.0 for moment in found)


@pytest.mark.parametrize("length", [SHORTEST_CLIP_S, LONGEST_CLIP_S])
async def test_every_length_that_an_order_may_ask_for_is_taken(tmp_path: Path, length: int) -> None:
    job = Job(tmp_path, Source(), options={"min_s": length, "max_s": length, "max_clips": 1})
    job.put(known.download(duration_s=3 * LONGEST_CLIP_S))
    job.put(known.analysis(3 * LONGEST_CLIP_S))

    await job.do(moment_detector.AGENT)

    [moment] = job.found(Moments).moments
    assert length == pytest.approx(moment.end_s - moment.start_s)


async def test_speech_is_a_reason_only_when_it_was_listened_for(tmp_path: Path) -> None:
    job = job_with(tmp_path)
    job.put(known.transcript((60.0, 90.0, "")))

    await job.do(moment_detector.AGENT)

    assert "speech" in {reason.kind for reason in job.found(Moments).moments[0].reasons}


async def test_a_shortest_above_the_longest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="max_s must not be less than min_s"):
        await job_with(tmp_path, min_s=30, max_s=20).do(moment_detector.AGENT)
