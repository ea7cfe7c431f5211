"""Every action, by every role, about everybody's things, over HTTP.

What comes of each call is in `tests/golden/outcomes`. Whoever may not is told so, changes nothing, and is on record;
whoever may is on record once. After a change that is meant: `python -m pytest tests/agentos/test_every_action.py
--outcomes`, and look at what it changed.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from agentos.app import create_app
from agentos.settings import Settings
from db import jobs
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import JobStatus
from db.redis import Redis
from db.users import User
from guards.permissions import granted
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.examples import Subject, about, example, subjects
from tests.onlooking import Onlooker, onlooking
from tests.serving import Served, served
from tests.uploading import context_of, uploaded, video

GOLDEN: Final = Path(__file__).parent.parent / "golden/outcomes"
NOBODY: Final = "nobody"
Place = tuple[str, Subject]

# What is written down beside the effects: the calls themselves, and what time does.
_BESIDE: Final = frozenset(
    {
        *("audit", "audit_anchors", "audit_heads", "audit_checkpoints", "pii_subjects"),
        *("events", "system_events", "logs", "calls", "denials", "manager_runs", "manager_minutes"),
        *("traffic", "traffic_marks", "traffic_sources"),
    }
)
_DECISIONS: Final = ("queue_states", "house", "managers", "operations", "replays")


@pytest_asyncio.fixture
async def served_whole(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema of the house."""
    async with served(create_app(settings, services)) as running:
        yield running


@pytest_asyncio.fixture
async def onlooker(database_url: str, redis: Redis) -> AsyncIterator[Onlooker]:
    """Somebody who sees what calls leave, but for what is written down of them anyway."""
    async with onlooking(database_url, redis, beside=_BESIDE) as looking:
        yield looking


async def things(services: Services, user: User, kinds: frozenset[str]) -> dict[str, UUID]:
    """Somebody's own: a job that failed, an upload that is complete."""
    made: dict[str, UUID] = {}
    if "upload" in kinds:
        made["upload"] = (await uploaded(context_of(services, user), video(3_000))).id
    if "job" in kinds:
        async with services.database.transaction(user.tenant_id) as tx:
            job = await jobs.add(tx, NewJob(user_id=user.id, source_url="https://example.org/v.mp4", chain=["clipper"]))
            await tx.execute(
                sa.text("UPDATE jobs SET status = :status, completed_at = now() WHERE id = :id"),
                {"status": JobStatus.FAILED, "id": job.id},
            )
        made["job"] = job.id
    return made


async def tried(server: Served, action: Action[Any, Any], given: dict[str, Any], token: str | None) -> str:
    """What comes of a call: `ok`, or the code of the refusal."""
    answer = await server.client.post(
        "/api/v1/admin/action",
        json={"action": action.name, "payload": given},
        headers={"authorization": f"Bearer {token}"} if token else {},
    )
    body = answer.json()
    return "ok" if body["success"] else str(body["error_code"])


def written(outcomes: dict[Place, str]) -> str:
    """The golden text of a role."""
    return "".join(f"{action:<36} {subject:<8} {outcome}\n" for (action, subject), outcome in outcomes.items())


async def outcomes_of(
    role: str, server: Served, services: Services, onlooker: Onlooker, people: People, token: str | None
) -> AsyncIterator[tuple[Place, str]]:
    """What comes of every action for a role; what is promised of refusals and of the trail is seen to on the way."""
    mine = people[Role.USER if role == NOBODY else Role(role)]
    owners = {Subject.OWN: mine, Subject.FOREIGN: next(user for user in people.values() if user.id != mine.id)}
    allowed = granted(Role(role)) if role != NOBODY else frozenset()
    before: dict[str, str] = {}
    for action in CATALOGUE.values():
        for subject in subjects(action):
            # What earlier calls decided for all later ones is taken back as well.
            await onlooker.forget(*(_DECISIONS if not before else ()))
            mine_or_not = await things(services, owners[subject], about(action)) if subject in owners else {}
            if mine_or_not or not before:
                before = await onlooker.fingerprint()
            given = example(action, mine_or_not)
            seen = await onlooker.on_record(action.name)

            outcome = await tried(server, action, given, token)

            place = f"{action.name} {subject} by {role}: {outcome}"
            denied = outcome in {"FORBIDDEN", "UNAUTHENTICATED"}
            assert (action.permission in allowed) is not denied, place
            assert outcome not in {"INTERNAL_ERROR", "RATE_LIMITED"}, place
            if outcome == "ok":
                before = {}
            else:
                assert before == await onlooker.fingerprint(), place
            recorded = await onlooker.on_record(action.name) - seen
            assert recorded == (0 if role == NOBODY else 1), place
            yield (action.name, subject), outcome


@pytest.mark.slow
@pytest.mark.parametrize("role", [*Role, NOBODY])
async def test_every_action_has_the_outcome_of_the_golden_text(
    role: str,
    served_whole: Served,
    services: Services,
    onlooker: Onlooker,
    people: People,
    token_of: TokenOf,
    request: pytest.FixtureRequest,
) -> None:
    token = None if role == NOBODY else token_of(people[Role(role)])
    calls = outcomes_of(role, served_whole, services, onlooker, people, token)
    found = {place: outcome async for place, outcome in calls}

    golden = GOLDEN / f"{role}.txt"
    if request.config.getoption("--outcomes"):
        golden.write_text(written(found))
    assert golden.read_text().splitlines() == written(found).splitlines()
