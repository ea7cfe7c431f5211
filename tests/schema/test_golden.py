"""What has become looser is not written down without a reason, and does not pass without being written down."""

from pathlib import Path

import pytest

from agentos import docs
from db.models.identity import Role
from resolvers.actions.catalogue import CATALOGUE
from schema import golden
from schema.root import schema

LINE = (
    "mutation queuePause admin=yes operator=yes supervisor=- user=- readonly=- nobody=- "
    "rate=queue.pause:50,admin-action:50 from=inside+house idempotency=supported audited=always redact=reason,note"
)


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("supervisor=-", "supervisor=yes", ["supervisor=yes"]),
        ("supervisor=-", "supervisor=own", ["supervisor=own"]),
        ("nobody=-", "nobody=yes", ["nobody=yes"]),
        ("pause:50", "pause:51", ["rate=queue.pause:51,admin-action:50"]),
        ("queue.pause:50,", "", ["rate=admin-action:50"]),
        ("inside+house", "inside", ["from=inside"]),
        ("inside+house", "anywhere", ["from=anywhere"]),
        ("idempotency=supported ", "", ["idempotency=-"]),
        ("always", "session", ["audited=session"]),
        ("reason,note", "note", ["redact=note"]),
        ("reason,note", "-", ["redact=-"]),
        # Stricter, or as strict.
        ("operator=yes", "operator=-", []),
        ("pause:50", "pause:5", []),
        ("inside+house", "house+inside", []),
        ("reason,note", "reason,note,more", []),
        ("supported", "natural", []),
        ("queuePause", "queueStop", []),
        ("x", "x", []),
    ],
)
def test_what_is_looser_is_found(was: str, now: str, told: list[str]) -> None:
    found = golden.looser(LINE, LINE.replace(was, now))

    assert [f"mutation queuePause {change}" for change in told] == found


def test_a_remark_allows_just_what_it_says() -> None:
    said = LINE + "\n! mutation queuePause supervisor=yes: they stand in at night\n"

    assert [] == golden.looser(said, LINE.replace("supervisor=-", "supervisor=yes"))
    assert ["mutation queuePause user=yes"] == golden.looser(said, LINE.replace("user=-", "user=yes"))
    assert ["mutation queuePause supervisor=all"] == golden.looser(said, LINE.replace("supervisor=-", "supervisor=all"))


def test_a_remark_without_a_reason_is_none() -> None:
    said = LINE + "\n! mutation queuePause supervisor=yes:\n"

    assert ["mutation queuePause supervisor=yes"] == golden.looser(said, LINE.replace("supervisor=-", "supervisor=yes"))


def test_the_matrix_has_a_line_for_each_root_field() -> None:
    core = schema._schema
    roots = [root for root in (core.query_type, core.mutation_type, core.subscription_type) if root is not None]
    lines = [line for line in golden.matrix().splitlines() if line and line[0] != "#"]

    assert sum(len(root.fields) for root in roots) == len(lines)
    [cancel] = [line.split() for line in lines if line.startswith("mutation jobCancel ")]
    assert ["admin=all", "operator=all", "supervisor=all", "user=own", "readonly=-", "nobody=-"] == cancel[2:8]
    assert [] == golden.looser(golden.matrix(), golden.matrix())


def test_a_written_matrix_keeps_its_remarks_and_guards_what_comes_after(tmp_path: Path) -> None:
    [page] = [page for page in docs.every_page("") if page.path == docs.MATRIX]
    docs.write(page, tmp_path)
    file = tmp_path / docs.MATRIX
    stricter = file.read_text().replace("rate=job.cancel:50", "rate=job.cancel:40")
    file.write_text(stricter)

    [change] = docs.loosened(tmp_path)
    assert change.startswith("mutation jobCancel rate=job.cancel:50")
    file.write_text(f"{stricter}! {change}: forty were too few\n")
    assert [] == docs.loosened(tmp_path)
    docs.write(page, tmp_path)

    assert f"! {change}: forty were too few" in file.read_text().splitlines()
    assert [] == docs.stale([page], tmp_path)


def test_what_breaks_clients_is_named(tmp_path: Path) -> None:
    sdl = schema.as_str()
    (tmp_path / "docs").mkdir()
    (tmp_path / docs.SDL).write_text(sdl.replace("type OperationChange {", "type OperationChange {\n  gone: Int\n"))

    assert ["Field OperationChange.gone was removed."] == docs.broken(tmp_path)
    assert [] == golden.breaking(sdl, sdl)


def test_the_page_of_actions_has_a_row_for_each() -> None:
    rows = {row.split(" | ")[0].strip("| "): row for row in docs.actions().splitlines() if row.startswith("| `")}

    assert {f"`{name}`" for name in CATALOGUE} == set(rows)
    assert f"| {Role.ADMIN} {Role.OPERATOR} | 50/min | supported |" in rows["`queue.pause`"]
