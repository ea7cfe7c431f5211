"""Who may: the caller's role decides, and nothing else."""

from collections.abc import Callable
from uuid import UUID

import pytest

from db.models.identity import Role
from db.users import User
from guards.callers import Caller, require
from guards.errors import Forbidden, Unauthenticated
from guards.permissions import Permission

WHO = UUID("0190a5f0-0000-7000-8000-000000000001")


def caller(role: Role) -> Caller:
    return Caller(user_id=WHO, tenant="default", role=role, token_id="j1", token_version=1, expires_at=0)


def test_nobody_is_asked_to_sign_in() -> None:
    with pytest.raises(Unauthenticated, match="sign in first") as refused:
        require(None, Permission.ME_READ)

    assert "UNAUTHENTICATED" == refused.value.code


def test_a_caller_is_given_back_once_they_may() -> None:
    operator = caller(Role.OPERATOR)

    assert operator is require(operator, Permission.QUEUE_PAUSE)


def test_who_may_not_is_told_which_role_lacks_which_permission() -> None:
    with pytest.raises(Forbidden, match=r"the role readonly may not job\.cancel") as refused:
        require(caller(Role.READONLY), Permission.JOB_CANCEL)

    assert "FORBIDDEN" == refused.value.code


@pytest.mark.parametrize("role", Role)
def test_requiring_and_asking_agree_for_every_permission(role: Role) -> None:
    someone = caller(role)
    for permission in Permission:
        if someone.may(permission):
            assert someone is require(someone, permission)
        else:
            with pytest.raises(Forbidden):
                require(someone, permission)


@pytest.mark.parametrize(("role", "sees_all"), [(role, role is not Role.USER) for role in Role])
def test_a_user_sees_what_is_theirs_and_every_other_role_the_tenant(role: Role, sees_all: bool) -> None:
    assert (None if sees_all else WHO) == caller(role).owner_filter


async def test_a_caller_is_who_the_token_names(people: dict[Role, User], caller_of: Callable[[User], Caller]) -> None:
    operator = people[Role.OPERATOR]

    made = caller_of(operator)

    assert (operator.id, "default", Role.OPERATOR) == (made.user_id, made.tenant, made.role)
