"""What a newer description no longer promises is named; what it adds is not."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from schema.rest.promises import broken
from tests.described import DOCUMENT as BEFORE

INIT = "/api/v1/upload/init"


def shape_of(document: Any, path: str = INIT, status: str = "201") -> Any:
    """What `data` is like in an answer, where it is written."""
    answer = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]["schema"]
    return document["components"]["schemas"][answer["properties"]["data"]["$ref"].rpartition("/")[2]]


def body_of(document: Any) -> Any:
    return document["paths"][INIT]["post"]["requestBody"]["content"]["application/json"]["schema"]


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "an endpoint": (lambda d: d["paths"].pop("/health"), "GET /health is gone"),
    "a parameter": (
        lambda d: d["paths"]["/api/v1/upload"]["get"]["parameters"].pop(),
        "GET /api/v1/upload: the parameter offset is gone",
    ),
    "a parameter that is needed": (
        lambda d: d["paths"]["/health"]["get"].update(parameters=[{"name": "x", "in": "query", "required": True}]),
        "GET /health: the parameter x is needed now",
    ),
    "a key of a body": (
        lambda d: body_of(d)["properties"].pop("sha256"),
        f"POST {INIT}: body.sha256 is no longer taken",
    ),
    "a key that is needed": (
        lambda d: body_of(d)["required"].append("sha256"),
        f"POST {INIT}: body.sha256 is needed now",
    ),
    "an action": (
        lambda d: d["components"]["schemas"]["ActionRequest"]["discriminator"]["mapping"].pop("job.cancel"),
        "POST /api/v1/admin/action: body: job.cancel is no longer taken",
    ),
    "a key of an answer": (
        lambda d: shape_of(d)["properties"].pop("chunk_count"),
        f"POST {INIT}: data has no chunk_count any more",
    ),
    "a value that was always there": (
        lambda d: shape_of(d)["properties"]["chunk_count"].update(type=["integer", "null"]),
        f"POST {INIT}: data.chunk_count may be null now",
    ),
    "a value of another kind": (
        lambda d: shape_of(d)["properties"]["filename"].update(type="integer"),
        f"POST {INIT}: data.filename may be integer now",
    ),
    "a status": (
        lambda d: d["paths"]["/health"]["get"]["responses"].pop("200"),
        "GET /health: it no longer answers 200",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_taken_away_is_named(name: str) -> None:
    change, expected = CHANGES[name]
    after = deepcopy(BEFORE)
    change(after)

    assert expected in broken(BEFORE, after)


def test_what_is_added_is_not() -> None:
    after = deepcopy(BEFORE)
    after["paths"]["/more"] = {"get": {"responses": {"200": {"description": "more"}}}}
    shape_of(after)["properties"]["more"] = {"type": "string"}
    body_of(after)["properties"]["more"] = {"type": "string"}

    assert [] == broken(BEFORE, after)
    assert [] == broken(BEFORE, BEFORE)


def test_what_is_never_null_any_more_is_not() -> None:
    before = deepcopy(BEFORE)
    shape_of(before)["properties"]["filename"]["type"] = ["string", "null"]

    assert [] == broken(before, BEFORE)
