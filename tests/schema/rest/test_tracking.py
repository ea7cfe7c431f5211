"""What has changed in the table: told, and where somebody could lose or win by it, not without a reason."""

from dataclasses import replace

import pytest

from guards.allowances import Class
from schema.rest import facts, terms, tracking
from schema.rest.endpoints import ENDPOINTS
from schema.rest.terms import Terms
from schema.rest.tracking import Kind
from schema.root import schema

NAMES = ("POST /jobs/{job_id}/cancel", "GET /agents/logs/{agent_id}")
TABLE = terms.of(facts.of([row for row in ENDPOINTS if f"{row.method} {row.path}" in NAMES], schema))
CANCEL, LOGS = TABLE
BEFORE = tracking.written(TABLE)


def told(*table: Terms, before: str = BEFORE) -> list[str]:
    return [str(change) for change in tracking.changes(before, tracking.written(table))]


def unexplained(*table: Terms, before: str = BEFORE) -> list[str]:
    return tracking.unexplained(before, tracking.written(table))


def test_a_table_as_it_was_written_has_not_changed() -> None:
    assert [] == told(*TABLE)
    assert [] == unexplained(*TABLE)


def test_the_order_of_the_rows_is_no_change() -> None:
    assert [] == told(LOGS, CANCEL)


def test_what_was_added_is_told_and_needs_no_reason() -> None:
    before = tracking.written([CANCEL])

    assert ["added GET /agents/logs/{agent_id}"] == told(*TABLE, before=before)
    assert [] == unexplained(*TABLE, before=before)


def test_what_was_removed_needs_a_reason() -> None:
    line = "GET /agents/logs/{agent_id} served=no"

    assert ["removed GET /agents/logs/{agent_id}"] == told(CANCEL)
    assert [line] == unexplained(CANCEL)
    assert [] == unexplained(CANCEL, before=f"{BEFORE}\n! {line}: nobody reads them\n")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (replace(LOGS, level=Class.USER), "GET /agents/logs/{agent_id} access=user"),
        (replace(LOGS, level=Class.PUBLIC), "GET /agents/logs/{agent_id} access=public"),
        (replace(LOGS, limits=(("admin-read", 501),)), "GET /agents/logs/{agent_id} limit=admin-read:501"),
        (replace(LOGS, limits=(("another", 1),)), "GET /agents/logs/{agent_id} limit=another:1"),
        (
            replace(LOGS, roles=CANCEL.roles),
            "GET /agents/logs/{agent_id} roles=admin,operator,supervisor,user",
        ),
    ],
)
def test_what_is_looser_needs_a_reason(changed: Terms, line: str) -> None:
    assert [line] == unexplained(CANCEL, changed)
    assert [] == unexplained(CANCEL, changed, before=f"{BEFORE}\n! {line}: people asked for it\n")
    assert [line] == unexplained(CANCEL, changed, before=f"{BEFORE}\n! {line}:\n"), "a reason says something"


@pytest.mark.parametrize(
    "changed",
    [
        replace(CANCEL, level=Class.ADMIN_ACTION),
        replace(CANCEL, limits=(("job.cancel", 5), ("user", 100))),
        replace(CANCEL, limits=(*CANCEL.limits, ("another", 1))),
        replace(CANCEL, roles=CANCEL.roles[:1]),
    ],
)
def test_what_is_stricter_is_told_and_needs_no_reason(changed: Terms) -> None:
    assert 1 == len(told(changed, LOGS))
    assert [] == unexplained(changed, LOGS)


def test_another_status_needs_a_reason_and_a_mark_of_age_does_not() -> None:
    created = replace(CANCEL, facts=replace(CANCEL.facts, row=replace(CANCEL.row, status=201)))
    old = replace(CANCEL, facts=replace(CANCEL.facts, row=replace(CANCEL.row, deprecated=True)))

    assert ["POST /jobs/{job_id}/cancel status=201"] == unexplained(created, LOGS)
    assert ["changed POST /jobs/{job_id}/cancel: deprecated=yes, was deprecated=no"] == told(old, LOGS)
    assert [] == unexplained(old, LOGS)


def test_a_reason_for_something_else_is_none() -> None:
    other = f"{BEFORE}\n! GET /agents/logs/{{agent_id}} limit=admin-read:600: people asked for it\n"

    assert 1 == len(unexplained(CANCEL, replace(LOGS, limits=(("admin-read", 900),)), before=other))


def test_a_change_carries_its_reason() -> None:
    line = "GET /agents/logs/{agent_id} served=no"

    [change] = tracking.changes(f"{BEFORE}\n! {line}: nobody reads them\n", tracking.written([CANCEL]))

    assert (Kind.REMOVED, "nobody reads them", True) == (change.kind, change.reason, change.accepted)
