"""What an administrator decides about a breaker binds every process, and is seen by who may see the services."""

from datetime import UTC, datetime

import pytest
from strawberry.types.execution import ExecutionResult

from db.database import Database
from db.models.identity import Role
from db.users import User
from guards.breakers import LOOK_EVERY_S, Breakers, BreakerState, Dependency
from guards.errors import BadInput, CircuitOpen
from resolvers.context import Context, Services
from schema.root import schema
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of

BREAKERS = "{ breakers { dependency state isolated reason calls failureRate openUntil decidedAt } }"


async def asked(services: Services, user: User, document: str) -> ExecutionResult:
    return await schema.execute(document, context_value=context_of(services, user))


async def test_what_is_isolated_is_left_alone_at_once_here_and_within_a_second_elsewhere(
    admin: Context, database: Database
) -> None:
    now = 0.0
    elsewhere = Breakers(database, clock=lambda: now)
    await elsewhere.require(Dependency.FILES)

    decided = await act(admin, "breaker.isolate", dependency="files", reason="the disk is being changed")

    assert (Dependency.FILES, True) == (decided.dependency, decided.isolated)
    assert BreakerState.ISOLATED is admin.services.breakers.of[Dependency.FILES].state
    now += LOOK_EVERY_S
    assert LOOK_EVERY_S < 1
    with pytest.raises(CircuitOpen):
        await elsewhere.require(Dependency.FILES)


async def test_what_is_closed_is_used_again(admin: Context) -> None:
    await act(admin, "breaker.isolate", dependency="files")
    decided = await act(admin, "breaker.close", dependency="files")

    assert not decided.isolated
    await admin.services.breakers.require(Dependency.FILES)


async def test_isolating_twice_is_as_good_as_once(admin: Context) -> None:
    first = await act(admin, "breaker.isolate", dependency="redis")
    second = await act(admin, "breaker.isolate", dependency="redis")

    assert first.decided_at < second.decided_at <= datetime.now(UTC)
    assert BreakerState.ISOLATED is admin.services.breakers.of[Dependency.REDIS].state


async def test_what_there_is_not_cannot_be_isolated(admin: Context) -> None:
    with pytest.raises(BadInput, match="dependency"):
        await act(admin, "breaker.isolate", dependency="postgresql")


async def test_how_they_stand_is_shown_to_who_may_see_the_services(
    services: Services, people: People, admin: Context
) -> None:
    await act(admin, "breaker.isolate", dependency="files", reason="the disk is being changed")

    shown = await asked(services, people[Role.READONLY], BREAKERS)
    hidden = await asked(services, people[Role.USER], BREAKERS)

    assert shown.data is not None
    found = {each["dependency"]: each for each in shown.data["breakers"]}
    assert ["REDIS", "FILES", "SUPERVISOR", "WORKERS"] == list(found)
    assert ("ISOLATED", True, "the disk is being changed") == tuple(
        found["FILES"][name] for name in ("state", "isolated", "reason")
    )
    assert {
        "dependency": "WORKERS",
        "state": "CLOSED",
        "isolated": False,
        "reason": None,
        "calls": 0,
        "failureRate": None,
        "openUntil": None,
        "decidedAt": None,
    } == found["WORKERS"]
    assert {"breakers": None} == hidden.data


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
async def test_nobody_else_decides_about_them(services: Services, people: People, role: Role) -> None:
    for field in ("breakerIsolate", "breakerClose"):
        document = f"mutation {{ {field}(input: {{dependency: FILES}}) {{ isolated }} }}"
        refused = await asked(services, people[role], document)
        assert refused.errors is not None
        assert "FORBIDDEN" == (refused.errors[0].extensions or {})["code"]

    await services.breakers.look(again=True)
    assert services.breakers.of[Dependency.FILES].decision is None
