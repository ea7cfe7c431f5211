"""What agents are handed of those before them."""

from uuid import uuid4

import pytest

from workers.agents.contract import Source, Step
from workers.agents.moment_detector import Moments
from workers.failures import StepFailed


def step(**results: bytes) -> Step:
    found = {agent.replace("_", "-"): output for agent, output in results.items()}
    return Step(job_id=uuid4(), attempt=1, source=Source(), options={}, results=found)


def test_what_was_never_found_is_none() -> None:
    assert None is step().earlier(Moments)


def test_what_is_needed_and_was_never_found_fails_the_step() -> None:
    with pytest.raises(StepFailed, match="needs the output of moment-detector"):
        step().needs(Moments)


def test_what_is_on_record_and_is_not_what_an_agent_finds_fails_the_step() -> None:
    """As in a seeded history, whose steps are completed and found nothing."""
    with pytest.raises(StepFailed, match="create the job anew"):
        step(moment_detector=b"null").earlier(Moments)
