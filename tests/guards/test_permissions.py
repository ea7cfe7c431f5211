"""What a role may do, written out once more by hand: a change of a pattern shows as a change of this table."""

from collections.abc import Mapping
from typing import Final

import pytest

from db.models.identity import Role
from guards.permissions import OWN_ONLY, PATTERNS, Permission, granted, inside_only, of_the_house
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Idempotency

A, O, S, U, R = Role.ADMIN, Role.OPERATOR, Role.SUPERVISOR, Role.USER, Role.READONLY  # noqa: E741 - columns of a table

BY_HAND: Final[Mapping[tuple[Role, ...], str]] = {
    (A, O, S, U, R): """
        me.read job.read clip.read upload.read agent.read queue.read
    """,
    (A, O, S, U): """
        job.create upload.init upload.finalize job.retry job.cancel
    """,
    (A, O, S, R): """
        snapshot.read worker.read log.read event.read config.read operation.read manager.read service.read
        dashboard.system_check system.health_check service.health_check database.status worker.health_check
        manager.performance_metrics analytics.switch_timeperiod
    """,
    (A, O, S): """
        audit.read dashboard.export_daily_report service.view_logs database.performance_check database.list_backups
        database.record_details worker.view_logs manager.view_logs logs.export logs.refresh logs.run_diagnostics
        logs.export_analytics logs.stream_realtime logs.filter_by_level analytics.export_data analytics.refresh_data
        analytics.generate_report job.priority
    """,
    (A, O): """
        job.update_status agent.start agent.stop agents.restart agent.configure queue.pause
        queue.resume dashboard.restart_failed_jobs service.start service.restart worker.start worker.stop
        worker.restart worker.scale_up worker.scale_down worker.spawn_new worker.restart_all worker.configure
        agent.test manager.start manager.restart manager.start_all config.configure_agent queue.drain worker.scale
        worker.pause worker.resume cache.warm
    """,
    (A,): """
        admin breaker.isolate breaker.close job.delete queue.clear dashboard.toggle_maintenance
        dashboard.queue_purge system.restart system.emergency_stop system.maintenance_mode_toggle
        system.graceful_shutdown system.restart_with_config system.restart_with_migration system.clear_cache
        service.stop service.restart_all database.cleanup_old_data database.vacuum database.optimize_indexes
        database.create_backup database.export_data database.verify_backup database.restore_backup worker.kill
        worker.stop_all worker.upload_files worker.create_generic manager.stop manager.restart_all manager.configure
        manager.force_kill manager.reset_state logs.clear logs.clear_all logs.download_full logs.restart_service
        config.save config.reset_defaults config.backup config.restore config.download_backup config.add_agent
        config.remove_agent agents.configure agent.queue_clear system.backup system.maintenance cache.clear
    """,
}

GOLDEN: Final[Mapping[str, frozenset[Role]]] = {
    permission: frozenset(roles) for roles, permissions in BY_HAND.items() for permission in permissions.split()
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
    """What is no read only looks; the one thing that it keeps is the caller's own preference."""
    acting = {permission for permission in granted(Role.READONLY) if not permission.endswith(".read")}

    assert {"analytics.switch_timeperiod"} == {
        name for name in acting if CATALOGUE[name].idempotency is not Idempotency.NATURAL
    }


def test_a_permission_is_a_read_or_an_action() -> None:
    assert {"admin"} == {p for p in Permission if not p.endswith(".read") and p not in CATALOGUE}


@pytest.mark.parametrize("name", ["job.retry", "job.cancel", "job.create", "upload.init", "agent.start", "me.read"])
def test_what_people_do_with_their_own_is_done_from_anywhere(name: str) -> None:
    assert not inside_only(Permission(name))


@pytest.mark.parametrize("name", ["job.delete", "queue.pause", "system.restart", "config.save", "audit.read"])
def test_what_steers_the_house_is_done_from_inside(name: str) -> None:
    assert inside_only(Permission(name))


@pytest.mark.parametrize("name", ["system.restart", "worker.kill", "database.restore_backup", "cache.clear"])
def test_what_reaches_beyond_one_tenant_is_for_who_runs_the_house(name: str) -> None:
    assert of_the_house(Permission(name))


@pytest.mark.parametrize("name", ["worker.read", "queue.pause", "config.save", "logs.clear", "job.delete"])
def test_what_stays_within_a_tenant_is_for_everyone_of_it(name: str) -> None:
    assert not of_the_house(Permission(name))


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
