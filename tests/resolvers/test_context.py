"""What a caller may, from where: single actions can be confined to networks of their own."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from guards.errors import Forbidden
from guards.networks import Confinement
from guards.permissions import Permission
from resolvers.context import Context
from tests.conftest import People
from tests.uploading import context_of, services_over

HERE = "127.0.0.1"


@pytest.fixture
def admin(database: Database, redis: Redis, tmp_path: Path, people: People) -> Context:
    """An administrator on this machine, where system actions are for 10.0.0.0/8 alone."""
    rules = (Confinement("system.*", (ip_network("10.0.0.0/8"),)),)
    services = replace(
        services_over(database, redis, tmp_path),
        admin_allow=(ip_network("0.0.0.0/0"),),
        action_allow=rules,
    )
    return context_of(services, people[Role.ADMIN])


async def test_a_confined_action_is_refused_from_elsewhere_and_says_so(admin: Context) -> None:
    with pytest.raises(Forbidden, match=f"system.backup may be used from its own networks only, and {HERE} is in none"):
        admin.require(Permission.SYSTEM_BACKUP)

    assert not admin.may(Permission.SYSTEM_BACKUP)


async def test_from_its_networks_it_may_be_used(admin: Context) -> None:
    admin.address = "10.1.2.3"

    assert admin.may(Permission.SYSTEM_BACKUP)


async def test_other_actions_stay_as_they_were(admin: Context) -> None:
    assert admin.may(Permission.QUEUE_CLEAR)


async def test_who_asks_from_elsewhere_is_in_another_scope(admin: Context) -> None:
    """So that nobody is told what was made for others who may more from where they are."""
    scopes = [replace(admin, address=address).scope_of(own=False) for address in (HERE, "10.1.2.3")]

    made = [Context.of_scope(admin.services, scope) for scope in scopes]
    assert [False, True] == [context.may(Permission.SYSTEM_BACKUP) for context in made]
    assert [True, True] == [context.may(Permission.QUEUE_CLEAR) for context in made]
    assert 2 == len(set(scopes))
