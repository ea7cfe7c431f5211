"""The generated pages: up to date in this checkout, complete, and written over nobody's words."""

import re
from pathlib import Path

from graphql import build_schema, parse, validate

from agentos import docs
from agentos.cli.app import app
from agentos.closes import Close
from agentos.docs import Page
from agentos.settings import Settings
from db.models import metadata
from guards.errors import Refusal, family
from guards.permissions import Permission
from schema import root
from schema.rest.advice import ADVICE
from schema.rest.endpoints import ENDPOINTS
from tests.agentos.commands import ROOT


def pages() -> tuple[Page, ...]:
    return docs.every_page(app.generate_docs(output_format="markdown"))


def test_every_page_is_as_the_code_says() -> None:
    stale = [str(page) for page in docs.stale(pages())]

    assert [] == stale, "run `python -m agentos docs` and commit what it writes"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    for page in pages():
        docs.write(page, tmp_path)

    assert [] == docs.stale(pages(), tmp_path)


def test_a_page_that_was_changed_by_hand_is_stale(tmp_path: Path) -> None:
    for page in pages():
        docs.write(page, tmp_path)
    (tmp_path / "docs/settings.md").write_text("# Settings\n")

    assert ["docs/settings.md"] == [page.path for page in docs.stale(pages(), tmp_path)]


def test_what_a_person_wrote_around_a_generated_part_stays(tmp_path: Path) -> None:
    page = Page(path="page.md", made=lambda: "new", part="middle")
    (tmp_path / "page.md").write_text("before\n<!-- generated: middle -->\nold\n<!-- end of generated -->\nafter\n")

    docs.write(page, tmp_path)

    expected = "before\n<!-- generated: middle -->\n\nnew\n\n<!-- end of generated -->\nafter\n"
    assert expected == (tmp_path / "page.md").read_text()


def test_every_refusal_comes_with_advice_and_every_advice_with_a_refusal() -> None:
    """Whoever is refused is told what to do; a refusal that nobody explained cannot be added."""
    ours = {kind.code for kind in family() if not kind.__module__.startswith("tests.")}

    assert ours == ADVICE.keys()


def test_the_guide_explains_each_code_under_its_heading() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    section = guide.partition("\n## Refusals\n")[2].partition("\n## ")[0]

    codes = set(re.findall(r"^\| `([A-Z_]+)` \|", section, flags=re.MULTILINE))
    assert {kind.code for kind in family() if kind is not Refusal} == codes


def test_the_guide_tells_why_a_socket_is_closed() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    ours, older = [
        {int(code) for code in re.findall(r"\b(\d{4})\b", "".join(re.findall(r"^\|[^|]*", table, re.MULTILINE)))}
        for table in re.findall(r"^\| (?:closed with \| why|code \| when) \|.*?\n\n", guide, re.MULTILINE | re.DOTALL)
    ]
    # 1006 is what a client says when the connection broke; 1011 comes of the protocol beneath, which had no pong.
    beneath = {1006, 1011}
    # Before there is a socket, that code is an HTTP status.
    assert {*Close} - {Close.POLICY} == ours - beneath
    assert older < ours


def test_every_setting_table_command_endpoint_and_permission_is_on_its_page() -> None:
    read = {page.path: page.made() for page in pages()}

    assert [] == [name for name in Settings.model_fields if f"`AGENTOS_{name.upper()}`" not in read["docs/settings.md"]]
    assert [] == [name for name in metadata.tables if f"\n## {name}" not in read["docs/tables.md"]]
    assert [] == [word for word in Permission if f"`{word}`" not in read["docs/permissions.md"]]
    assert [] == [row.path for row in ENDPOINTS if f"| `{row.path}` |" not in read["docs/endpoints.md"]]
    for command in ("up", "token", "user add", "job submit", "demo", "docs"):
        assert f"\n## python -m agentos {command}\n" in read["docs/commands.md"].replace("\n### ", "\n## ")


def test_every_operation_of_the_guide_fits_the_schema() -> None:
    schema = build_schema(root.schema.as_str())
    operations = re.findall(r"^```graphql\n(.*?)^```", (ROOT / "docs/guide.md").read_text(), re.MULTILINE | re.DOTALL)
    operations += re.findall(r"`(mutation \{.*?\})` \|", (ROOT / "docs/guide.md").read_text())

    assert len(operations) >= 9
    assert {} == {text: found for text in operations if (found := validate(schema, parse(text)))}


def test_the_page_of_endpoints_says_what_each_reads_and_answers() -> None:
    rows = {row.split(" | ")[1]: row.split(" | ")[4:] for row in docs.endpoints().splitlines() if row.startswith("| `")}

    reads, status, answers = rows["`/upload/finalize`"]
    assert ("body: `upload_id`, `total_chunks?`, `sha256?`", "201") == (reads, status)
    assert {"`media_type`", "`sha256`"} <= set(answers.rstrip(" |").split(", "))
    assert rows["`/upload/chunk`"][0].startswith("form: `upload_id`")
    assert "`missing`" in rows["`/upload/status/{upload_id}`"][2]


def test_what_clients_of_rest_lose_is_named_before_it_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / docs.REST
    file.parent.mkdir()
    file.write_text(docs.rest(older=False).replace('"/health": {', '"/wellbeing": {'))

    assert ["GET /wellbeing is gone"] == docs.broken(tmp_path)


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} leads to {target}"
