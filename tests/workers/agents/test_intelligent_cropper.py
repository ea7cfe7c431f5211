"""The cropper plans one path for each moment, in the asked shape."""

from pathlib import Path

import pytest

from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import intelligent_cropper
from workers.agents.contract import Source
from workers.agents.intelligent_cropper import CropPaths
from workers.failures import StepSkipped


async def test_each_moment_gets_a_path(tmp_path: Path) -> None:
    job = Job(tmp_path, Source(), options={"aspect": "1:1"})
    job.put(known.download())
    job.put(known.analysis())
    job.put(known.chosen((6.0, 12.0), (0.0, 6.0)))

    await job.do(intelligent_cropper.AGENT)

    lively, still = job.found(CropPaths).paths
    assert [(360, 360)] * 2 == [(way.width, way.height) for way in (lively, still)]
    assert ("motion", "centre") == (lively.follows, still.follows)
    assert 280.0 == lively.waypoints[0].x, "as far right as it goes"


async def test_the_shape_of_the_source_needs_no_path(tmp_path: Path) -> None:
    job = Job(tmp_path, Source(), options={"aspect": "source"})

    with pytest.raises(StepSkipped, match="keep the shape of the video"):
        await job.do(intelligent_cropper.AGENT)
