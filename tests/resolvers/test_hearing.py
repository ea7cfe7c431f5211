"""Who hears of what follows from what they may read."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.database import Database
from db.events import START, Event, Kind
from db.models.identity import Role
from db.redis import Redis
from guards.errors import Forbidden
from resolvers.context import Context
from resolvers.hearing import HEARD_WITH, OWNED, audible, of_concern
from tests.conftest import People
from tests.uploading import context_of, services_over


@pytest.fixture
def contexts(database: Database, redis: Redis, tmp_path: Path, people: People) -> dict[Role, Context]:
    """Somebody of each role."""
    services = services_over(database, redis, tmp_path)
    return {role: context_of(services, user) for role, user in people.items()}


def done(action: str) -> Event:
    """That an action was carried out."""
    return Event(START, "default", Kind.ACTION_EXECUTED, action, None, {"action": action}, datetime.now(UTC))


def test_of_each_kind_it_is_said_who_hears_of_it() -> None:
    assert set(Kind) == set(HEARD_WITH)
    assert set(Kind) >= OWNED


@pytest.mark.parametrize("role", Role)
async def test_everybody_hears_of_what_they_may_read(role: Role, contexts: dict[Role, Context]) -> None:
    context = contexts[role]
    heard = audible(context)

    assert {kind for kind, permission in HEARD_WITH.items() if context.may(permission)} == heard == audible(context, [])
    assert (role is Role.ADMIN) is (Kind.USER_CHANGED in heard)
    for kind in set(Kind) - heard:
        with pytest.raises(Forbidden):
            audible(context, [kind])


@pytest.mark.parametrize(("role", "hears"), [(Role.ADMIN, True), (Role.SUPERVISOR, False), (Role.OPERATOR, False)])
async def test_of_what_was_done_only_administrators_hear_more_than_of_jobs(
    role: Role, hears: bool, contexts: dict[Role, Context]
) -> None:
    concerns = of_concern(contexts[role])

    assert (True, hears, hears) == (
        concerns(done("job.cancel")),
        concerns(done("config.save")),
        concerns(done("jobs")),
    )
