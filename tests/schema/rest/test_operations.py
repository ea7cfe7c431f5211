"""Stored operations: what several of them select of a thing is written once, and is in its place in each."""

from pathlib import Path

import pytest
from graphql import print_ast

from schema.rest import operations
from schema.rest.operations import FOLDER, FRAGMENTS, Stored, Unfit
from schema.root import schema

DOCUMENTS = {file.stem: file.read_text() for file in sorted(FOLDER.glob("*.graphql"))}


@pytest.mark.parametrize("fragment", sorted(file.stem for file in FRAGMENTS.iterdir()))
def test_a_fragment_is_what_several_documents_have_in_common(fragment: str) -> None:
    assert 1 < len([name for name, text in DOCUMENTS.items() if f"...{fragment}\n" in text])


def test_what_a_fragment_selects_stands_where_it_is_named() -> None:
    started = Stored("AgentStart", schema)

    assert ("id", "name", "display_name", "status", "enabled", "revision", "updated_at") == started.keys(
        ("agentStart", "agent")
    )
    assert "AgentSwitch" not in print_ast(started.document)


@pytest.mark.parametrize("fragment", ["ClipParts", "AgentRuns"])
def test_a_fragment_of_another_thing_does_not_fit(
    fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "FOLDER", tmp_path)
    (tmp_path / "Odd.graphql").write_text(f"query Odd($id: ID!) {{ job(id: $id) {{ ...{fragment} }} }}")

    with pytest.raises(Unfit, match=f"Odd: Fragment '{fragment}' cannot be spread here"):
        Stored("Odd", schema)
