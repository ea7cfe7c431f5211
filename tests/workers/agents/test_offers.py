"""Agents of other projects: taken in when they fit, refused by name when they do not."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from db.agents import Known
from db.models.work import AgentCategory
from workers.agents import offers, registry
from workers.agents.contract import Agent, Output, Step, Tools


class Mood(Output, frozen=True):
    """What an agent of another project finds."""

    agent = "mood-reader"


async def run(step: Step, tools: Tools) -> Mood:
    """Find nothing."""
    return Mood()


GUEST = Agent(known=Known("mood-reader", "Mood reader", AgentCategory.ANALYSIS, "", "1.0", 60), output=Mood, run=run)


@pytest.fixture
def offering(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Stand in for what is installed beside us."""
    offered = EntryPoints(EntryPoint(name="other", value=value, group=offers.GROUP) for value in request.param)
    monkeypatch.setattr(offers, "entry_points", lambda group: offered.select(group=group))


@pytest.mark.parametrize("offering", [["tests.workers.agents.test_offers:GUEST"]], indirect=True)
def test_an_agent_that_fits_is_taken_in_beside_the_eleven(offering: None) -> None:
    assert {**registry.AGENTS, "mood-reader": GUEST}.keys() == registry.discovered().keys()


@pytest.mark.parametrize(
    ("offering", "told"),
    [
        (["workers.agents.clipper:AGENT"], "calls itself clipper, which is taken"),
        (["workers.agents.clipper:run"], "is offered as an agent but is none"),
        (["tests.workers.agents.test_offers:GUEST"] * 2, "calls itself mood-reader, which is taken"),
    ],
    indirect=["offering"],
)
def test_an_agent_that_does_not_fit_is_refused_by_name(offering: None, told: str) -> None:
    with pytest.raises(offers.BadAgent, match=told):
        offers.offered()


@pytest.mark.parametrize("offering", [[]], indirect=True)
def test_without_offers_there_are_the_eleven(offering: None) -> None:
    assert registry.AGENTS == registry.discovered()
