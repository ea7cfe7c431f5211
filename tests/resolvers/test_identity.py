"""Signing in, refreshing and signing out, as a client does it over GraphQL."""

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from db import users
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from db.users import User
from guards import passwords
from resolvers.context import Services
from schema.root import schema
from tests.uploading import context_of, services_over

PASSWORD = "correct horse battery"


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


@pytest_asyncio.fixture
async def person(database: Database) -> User:
    """Somebody with a password."""
    async with database.transaction("default") as tx:
        made = await users.add(
            tx,
            tenant="default",
            email="ann@example.com",
            name="Ann",
            role=Role.USER,
            password_hash=await passwords.hashed(PASSWORD),
        )
    assert made is not None
    return made


async def done(services: Services, action: str, user: User | None = None) -> Any:
    answer = await schema.execute(f"mutation {{ {action} }}", context_value=context_of(services, user))
    return answer.data or (answer.errors or [])[0].message


async def test_a_session_is_opened_refreshed_and_ended(services: Services, person: User, database: Database) -> None:
    fields = "{ session { accessToken refreshToken expiresIn } user { id role } }"
    opened = await done(services, f'login(input: {{email: "Ann@Example.com", password: "{PASSWORD}"}}) {fields}')
    session = opened["login"]["session"]
    assert {"id": str(person.id), "role": "USER"} == opened["login"]["user"]
    assert person.id == services.tokens.verified(session["accessToken"]).user_id

    renewed = await done(services, f'refresh(input: {{refreshToken: "{session["refreshToken"]}"}}) {fields}')
    assert session["refreshToken"] != renewed["refresh"]["session"]["refreshToken"]

    assert {"logout": {"userId": str(person.id)}} == await done(services, "logout { userId }", person)
    async with database.system() as tx:
        assert person.token_version + 1 == await users.token_version(tx, person.id)


@pytest.mark.parametrize(
    "given",
    [
        'email: "ann@example.com", password: "wrong"',
        'email: "bob@example.com", password: "wrong"',
        f'tenant: "other", email: "ann@example.com", password: "{PASSWORD}"',
    ],
)
async def test_who_is_wrong_is_not_told_how(given: str, services: Services, person: User) -> None:
    assert "email or password is wrong" == await done(services, f"login(input: {{{given}}}) {{ user {{ id }} }}")


async def test_somebody_disabled_sees_since_when(services: Services, person: User, database: Database) -> None:
    context = context_of(services, person)
    async with database.system() as tx:
        await users.mark_disabled(tx, person.id)

    answer = await schema.execute("{ me { id disabledAt } }", context_value=context)

    assert answer.data is not None
    assert answer.data["me"]["disabledAt"] is not None
