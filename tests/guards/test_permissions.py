"""What a role may do, written out once more by hand: a change of a pattern shows as a change of this table."""

from collections.abc import Mapping
from typing import Final

import pytest

from db.models.identity import Role
from guards.permissions import OWN_ONLY, PATTERNS, Permission, granted

A, O, S, U, R = Role.ADMIN, Role.OPERATOR, Role.SUPERVISOR, Role.USER, Role.READONLY  # noqa: E741 - columns of a table

GOLDEN: Final[Mapping[str, frozenset[Role]]] = {
    permission: frozenset(roles)
    for permission, roles in {
        "admin": (A,),
        "me.read": (A, O, S, U, R),
        "job.read": (A, O, S, U, R),
        "clip.read": (A, O, S, U, R),
        "upload.read": (A, O, S, U, R),
        "agent.read": (A, O, S, U, R),
        "queue.read": (A, O, S, U, R),
        "snapshot.read": (A, O, S, R),
        "worker.read": (A, O, S, R),
        "log.read": (A, O, S, R),
        "event.read": (A, O, S, R),
        "config.read": (A, O, S, R),
        "job.create": (A, O, S, U),
        "job.cancel": (A, O, S, U),
        "job.retry": (A, O, S, U),
        "job.update_status": (A, O),
        "queue.pause": (A, O),
        "queue.resume": (A, O),
        "agent.start": (A, O),
        "agent.stop": (A, O),
        "agent.configure": (A, O),
        "upload.init": (A, O, S, U),
        "upload.finalize": (A, O, S, U),
    }.items()
}
"""Who may; a permission that is not here fails the first test below until somebody has decided."""


def test_every_permission_has_a_line_in_the_table() -> None:
    assert {str(permission) for permission in Permission} == set(GOLDEN)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", GOLDEN)
def test_a_role_may_do_just_what_the_table_says(permission: str, role: Role) -> None:
    assert (role in GOLDEN[permission]) is (Permission(permission) in granted(role))


def test_an_admin_may_do_everything_there_is() -> None:
    assert frozenset(Permission) == granted(Role.ADMIN)


def test_a_readonly_user_changes_nothing() -> None:
    assert all(permission.endswith(".read") for permission in granted(Role.READONLY))


def test_nobody_but_an_admin_is_one() -> None:
    assert [Role.ADMIN] == [role for role in Role if Permission.ADMIN in granted(role)]


def test_only_a_user_is_held_to_what_is_theirs() -> None:
    assert {Role.USER} == OWN_ONLY


def test_every_role_has_patterns_and_every_pattern_grants_something() -> None:
    """A pattern for a permission that was renamed would silently take it away."""
    assert set(Role) == set(PATTERNS)
    for role, patterns in PATTERNS.items():
        for pattern in patterns:
            stem = pattern.rstrip("*")
            assert any(permission.startswith(stem) for permission in granted(role)), (role, pattern)
