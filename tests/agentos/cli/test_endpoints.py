"""`endpoints check` and `endpoints list`: what they print, and the exit code that a pipeline obeys."""

import json
from pathlib import Path

import pytest

from agentos.cli.app import main
from agentos.docs import ROOT
from schema.rest import terms, tracking
from schema.rest.endpoints import ENDPOINTS
from schema.root import schema


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The table as it is, in a file of this test."""
    file = tmp_path / "endpoints.txt"
    file.write_text(tracking.written(terms.of_all(schema)))
    return file


def check(file: Path, *more: str) -> int:
    return main(["endpoints", "check", "--against", str(file), *more])


def test_a_table_that_keeps_the_rules_and_has_not_changed_passes(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == check(written)

    said = capsys.readouterr().out
    assert 10 == said.count("\nok     ") + said.startswith("ok     ")
    assert f"budget: {len(ENDPOINTS)} of 50 endpoints, " in said
    assert "changes: none since endpoints.txt" in said


def test_a_removed_endpoint_fails_until_the_file_says_why(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with written.open("a") as file:
        file.write("GET /jobs/all tag=jobs access=user limit=user:100 roles=admin status=200 deprecated=yes\n")

    assert 1 == check(written)
    said = capsys.readouterr().out
    assert "FAILED removed GET /jobs/all" in said
    assert "write `! GET /jobs/all served=no: why` into endpoints.txt, or take it back" in said

    with written.open("a") as file:
        file.write("! GET /jobs/all served=no: nobody had called it for half a year\n")
    assert 0 == check(written)
    assert "removed GET /jobs/all (nobody had called it for half a year)" in capsys.readouterr().out


def test_a_machine_reads_the_same(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written.read_text().replace("limit=admin-action:50", "limit=admin-action:49", 1)
    written.write_text(before)

    assert 1 == check(written, "--json")

    told = json.loads(capsys.readouterr().out)
    assert (False, len(ENDPOINTS), 50) == (told["ok"], told["budget"]["endpoints"], told["budget"]["most"])
    assert [True] * 10 == [rule["kept"] for rule in told["rules"]]
    [change] = told["changes"]
    assert ("changed", "POST /admin/action", False) == (change["kind"], change["endpoint"], change["accepted"])


def test_without_the_written_table_nothing_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that had nothing to compare with must not look like one that found nothing."""
    assert 1 == check(tmp_path / "gone.txt")
    assert "what the table was cannot be read" in capsys.readouterr().err


def test_wrong_usage_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == main(["endpoints", "check", "--loudly"])


def test_the_list_has_every_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["endpoints", "list", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert [(row.method, row.path) for row in ENDPOINTS] == [(each["method"], each["path"]) for each in told]


def test_the_written_table_of_this_checkout_is_as_the_code_says() -> None:
    """Control for the default: this is the file that is compared with when none is named."""
    assert (ROOT / tracking.FILE).read_text().startswith(tracking.HEAD)
