"""Each of the ten rules is kept by the table that is served, and broken by one that breaks it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypedDict, cast

import pytest
from starlette.requests import Request

from guards.allowances import Rate
from guards.permissions import Permission
from resolvers.context import Context
from schema.rest import facts, governance, openapi, terms
from schema.rest.endpoints import ENDPOINTS
from schema.rest.governance import RULES, Judgement, Rule, Standing, Table
from schema.rest.rows import Endpoint, Tag
from schema.root import schema

ROWS = {f"{row.method} {row.path}": row for row in ENDPOINTS}
CANCEL = ROWS["POST /jobs/{job_id}/cancel"]
DETAILS = ROWS["GET /jobs/{job_id}"]
NOTHING: Mapping[str, Any] = {"paths": {}}
IDLE = "an exception that excuses nothing"


class Nothing(TypedDict):
    """What a handler answers."""


async def handler(request: Request, context: Context) -> Nothing:
    return {}


def native(method: str, path: str, **values: Any) -> Endpoint:
    """A row that a handler answers."""
    return Endpoint(method=method, path=path, tag=Tag.JOBS, summary="What is tried here.", native=handler, **values)


def undescribed(*rows: Endpoint) -> Table:
    """Rows of which OpenAPI says nothing, for rules that do not ask it."""
    return Table(terms.of(facts.of(rows, schema)), NOTHING)


def rule(name: str) -> Rule:
    return next(each for each in RULES if each.name == name)


def broken(name: str, table: Table) -> list[str]:
    """What a rule finds in a table; exceptions for rows that the table has not got are no matter here."""
    [judgement] = governance.judged(table, [rule(name)])
    return [failure for failure in judgement.failures if IDLE not in failure]


@pytest.fixture(scope="module")
def judgements() -> list[Judgement]:
    return governance.judged(governance.served(schema, "0"))


def test_there_are_ten_rules_and_each_says_where_it_is_stated() -> None:
    assert 10 == len({each.name for each in RULES}) == len(RULES)
    chapters = ("Governance Rules", "Endpoint Design Principles", "Governance Checklist", "Security & Access Control")
    assert [] == [each.name for each in RULES if not each.stated.startswith(chapters)]


@pytest.mark.parametrize("name", [each.name for each in RULES])
def test_the_table_that_is_served_keeps_every_rule(judgements: list[Judgement], name: str) -> None:
    [judgement] = [each for each in judgements if each.rule.name == name]

    assert () == judgement.failures
    assert len(judgement.rule.exceptions) == len(judgement.excused)


@pytest.mark.parametrize(
    ("endpoints", "standing"),
    [
        (0, "healthy"),
        (39, "healthy"),
        (40, "caution"),
        (45, "caution"),
        (46, "warning"),
        (50, "warning"),
        (51, "critical"),
    ],
)
def test_the_budget_stands_as_the_specification_says(endpoints: int, standing: str) -> None:
    assert standing == Standing.of(endpoints)


def test_fifty_endpoints_are_the_most() -> None:
    [one] = undescribed(CANCEL).terms

    assert [] == broken("budget", Table([one] * 50, NOTHING))
    assert ["51 endpoints are more than 50"] == broken("budget", Table([one] * 51, NOTHING))


@pytest.mark.parametrize("tag", ["", "work", Tag.QUEUE])
def test_an_endpoint_without_the_tag_of_its_path_breaks_a_rule(tag: str) -> None:
    assert 1 == len(broken("tags", undescribed(replace(CANCEL, tag=cast(Tag, tag)))))


@pytest.mark.parametrize(
    "path",
    [
        "/Jobs/{job_id}",
        "/jobs/{job_id}/cancelNow",
        "/jobs/cancel_now/{job_id}",
        "/jobs/{job_id}/",
        "/jobs/a--b/{job_id}",
    ],
)
def test_a_path_of_other_words_breaks_a_rule(path: str) -> None:
    assert 1 == len(broken("paths", undescribed(replace(CANCEL, path=path))))


def test_an_endpoint_outside_of_every_version_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ["GET /status: it is served outside of every version"] == broken(
        "paths", undescribed(replace(ROWS["GET /health"], path="/status"))
    )
    monkeypatch.setattr(governance, "PREFIXES", {"/api": True})
    assert ["no prefix is that of a version"] == broken("paths", undescribed(CANCEL))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (replace(CANCEL, method="PATCH"), "PATCH is none of DELETE, GET, POST, PUT"),
        (replace(CANCEL, method="GET", changes=True, audited="job.cancel"), "a GET changes something"),
        (replace(DETAILS, method="POST"), "a POST changes nothing"),
    ],
)
def test_a_method_that_means_something_else_breaks_a_rule(row: Endpoint, what: str) -> None:
    assert [f"{row.method} {row.path}: {what}"] == broken("methods", undescribed(row))


@pytest.mark.parametrize(
    "row", [native("GET", "/jobs/open"), replace(DETAILS, path="/admin/jobs/{job_id}"), native("POST", "/admin/open")]
)
def test_an_endpoint_that_lets_too_many_in_breaks_a_rule(row: Endpoint) -> None:
    assert broken("authentication", undescribed(row))
    assert [] == broken("authentication", undescribed(CANCEL))


def test_an_endpoint_without_a_limit_or_with_a_wide_one_breaks_a_rule() -> None:
    wide = undescribed(native("GET", "/jobs/wide", permission=Permission.JOB_READ, rate=Rate(101)))
    [one] = undescribed(CANCEL).terms

    assert ["GET /jobs/wide: 101 a minute are more than the 100 of user"] == broken("limits", wide)
    assert ["POST /jobs/{job_id}/cancel: nothing limits how often it is asked"] == broken(
        "limits", Table([replace(one, limits=())], NOTHING)
    )


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """How two endpoints are described."""
    return openapi.described(schema, "0", [CANCEL, DETAILS])


def table(description: dict[str, Any], rows: Sequence[Endpoint] = (CANCEL, DETAILS)) -> Table:
    return Table(undescribed(*rows).terms, description)


@pytest.mark.parametrize("key", ["success", "data", "timestamp", "response_time_ms"])
def test_an_answer_outside_of_the_envelope_breaks_a_rule(described: dict[str, Any], key: str) -> None:
    other = deepcopy(described)
    answer = other["paths"]["/api/v1/jobs/{job_id}"]["get"]["responses"]["200"]
    answer["content"]["application/json"]["schema"]["required"].remove(key)

    assert [f"GET /jobs/{{job_id}}: /api/v1/jobs/{{job_id}} answers without {key}"] == broken("envelope", table(other))
    assert [] == broken("envelope", table(described))


def test_a_refusal_in_another_form_breaks_a_rule(described: dict[str, Any]) -> None:
    other = deepcopy(described)
    other["paths"]["/api/jobs/{job_id}"]["get"]["responses"]["404"] = {"description": "Not there."}

    [failure] = broken("envelope", table(other))

    assert failure.endswith("/api/jobs/{job_id} refuses with 404 in a form of its own")


def test_input_without_a_type_breaks_a_rule() -> None:
    anything = replace(ROWS["POST /admin/action"], path="/admin/do")

    assert ["POST /admin/do: $payload may be anything"] == broken("input", undescribed(anything))
    bare = native("POST", "/jobs/touch", permission=Permission.JOB_READ)
    said: dict[str, Any] = {"paths": {"/api/jobs/touch": {"post": {}}, "/api/v1/jobs/touch": {"post": {}}}}
    assert 2 == len(broken("input", table(said, [bare])))


def test_an_endpoint_that_is_not_described_breaks_a_rule(described: dict[str, Any]) -> None:
    other = deepcopy(described)
    del other["paths"]["/api/v1/jobs/{job_id}"]
    other["paths"]["/api/jobs/{job_id}"]["get"]["x-rateLimit"] = []
    other["paths"]["/api/jobs/{job_id}/cancel"]["post"]["responses"] = {"200": {}}
    other["paths"]["/api/v1/jobs/{job_id}/cancel"]["post"]["responses"]["200"] = {"description": "Cancelled."}

    found = broken("documentation", table(other))

    assert [
        "POST /jobs/{job_id}/cancel: /api/jobs/{job_id}/cancel is described without what it refuses",
        "POST /jobs/{job_id}/cancel: /api/v1/jobs/{job_id}/cancel is described without an example",
        "GET /jobs/{job_id}: /api/jobs/{job_id} is described without its limit",
        "GET /jobs/{job_id}: /api/v1/jobs/{job_id} is not described",
    ] == found
    assert ["POST /jobs/{job_id}/cancel: its summary is no sentence"] == broken(
        "documentation", table(described, [replace(CANCEL, summary="todo")])
    )


@pytest.mark.parametrize(
    "row",
    [
        replace(ROWS["GET /admin/ssot"], path="/admin/workers"),
        replace(ROWS["POST /admin/action"], path="/admin/workers/restart"),
        replace(ROWS["GET /admin/ssot"], path="/snapshot"),
        native("POST", "/jobs/touch", permission=Permission.JOB_READ),
    ],
)
def test_another_way_to_the_consoles_data_or_off_the_record_breaks_a_rule(row: Endpoint) -> None:
    assert 1 == len(broken("administration", undescribed(row)))
    assert [] == broken("administration", undescribed(CANCEL, ROWS["GET /admin/ssot"], ROWS["POST /admin/action"]))


def test_an_exception_that_excuses_nothing_breaks_its_rule() -> None:
    [judgement] = governance.judged(undescribed(CANCEL), [rule("methods")])

    assert (f"GET /jobs/{{job_id}}/retry: {IDLE}; take it out",) == judgement.failures
    assert () == judgement.excused


def test_an_exception_is_told_with_its_reason() -> None:
    [judgement] = governance.judged(undescribed(ROWS["GET /jobs/{job_id}/retry"]), [rule("methods")])

    [told] = judgement.excused
    assert judgement.kept
    assert told.startswith("GET /jobs/{job_id}/retry: the specification lists it so")
