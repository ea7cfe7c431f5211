"""A wish is read strictly: the job's first, then the configuration, then the default."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.agents.bench import Bench, Job
from workers.agents import wishes
from workers.agents.contract import Source, Step
from workers.failures import StepFailed


def wish(**options: Any) -> Step:
    return Job(Path(), Source(), options=options).step()


def test_the_job_goes_before_the_configuration() -> None:
    configured = Bench(Path(), {"max_clips": 3})

    assert 2 == wishes.whole(wish(max_clips=2), configured, "max_clips", default=5, at_least=1, at_most=20)
    assert 3 == wishes.whole(wish(), configured, "max_clips", default=5, at_least=1, at_most=20)
    assert 5 == wishes.whole(wish(), Bench(Path()), "max_clips", default=5, at_least=1, at_most=20)


@pytest.mark.parametrize("value", [0, 21, 2.5, "2", True, float("nan"), [2]])
def test_what_is_no_such_number_is_refused(value: object) -> None:
    with pytest.raises(StepFailed, match="max_clips must be"):
        wishes.whole(wish(max_clips=value), Bench(Path()), "max_clips", default=5, at_least=1, at_most=20)


@pytest.mark.parametrize(("value", "expected"), [(None, (9, 16)), ("1:1", (1, 1)), ("source", None)])
def test_an_aspect_is_read(value: str | None, expected: tuple[int, int] | None) -> None:
    assert expected == wishes.aspect(wish(aspect=value), Bench(Path()))


@pytest.mark.parametrize("value", ["", "9x16", "0:1", "1:9", "9:16:1", 1.5, "-1:1"])
def test_a_bad_aspect_is_refused(value: object) -> None:
    with pytest.raises(StepFailed, match="aspect must"):
        wishes.aspect(wish(aspect=value), Bench(Path()))
