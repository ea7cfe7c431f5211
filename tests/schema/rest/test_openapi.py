"""The description of REST: valid, whole, and the same as what happens."""

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from guards.allowances import Class
from guards.errors import Refusal, family
from guards.permissions import Permission
from resolvers.actions.catalogue import CATALOGUE
from schema.rest import examples, openapi30
from schema.rest.endpoints import ENDPOINTS
from schema.rest.rows import Tag
from schema.rest.serving import PREFIXES
from schema.rest.statuses import status_of
from tests import examples as payloads
from tests.described import DOCUMENT

OPERATIONS: Mapping[str, dict[str, Any]] = {
    operation["operationId"]: operation | {"path": path, "method": method.upper()}
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def resolved(shape: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    for step in shape["$ref"][2:].split("/") if "$ref" in shape else ():
        found = found[step]
    return found if "$ref" in shape else shape


def answer_of(name: str, status: int = 200) -> dict[str, Any]:
    shape: dict[str, Any] = OPERATIONS[name]["responses"][str(status)]["content"]["application/json"]["schema"]
    return shape


def test_both_documents_are_valid() -> None:
    assert [] == list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())
    assert [] == list(OpenAPIV30SpecValidator(openapi30.lowered(DOCUMENT)).iter_errors())


def test_a_document_that_is_not_valid_does_not_pass() -> None:
    broken = DOCUMENT | {"paths": {"/a": {"get": {"responses": {"200": {}}}}}}

    assert [] != list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_every_row_is_there_below_each_prefix_and_counts_once() -> None:
    expected = {
        (row.method, f"{prefix}{row.path}") for row in ENDPOINTS for prefix in (PREFIXES if row.own is None else ("",))
    }

    assert expected == {(each["method"], each["path"]) for each in OPERATIONS.values()}
    assert set(range(1, len(ENDPOINTS) + 1)) == {each["x-endpoint"] for each in OPERATIONS.values()}


def test_what_is_older_is_deprecated_and_nothing_else_but_rows_that_say_so() -> None:
    kept = {row.path for row in ENDPOINTS if row.deprecated}
    older = {
        name for name, each in OPERATIONS.items() if each["path"].startswith("/api/") and "/v1/" not in each["path"]
    }

    said = {name for name, each in OPERATIONS.items() if each.get("deprecated")}
    assert older | {name for name, each in OPERATIONS.items() if each["path"].removeprefix("/api/v1") in kept} == said


def test_every_operation_has_a_known_tag_and_all_tags_are_explained() -> None:
    assert {str(tag) for tag in Tag} == {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(set(each["tags"]) <= {str(tag) for tag in Tag} for each in OPERATIONS.values())


def test_stored_operations_are_called_as_they_are_stored_and_shown_with_their_document() -> None:
    init = OPERATIONS["UploadInit"]

    assert ("POST", "/api/v1/upload/init") == (init["method"], init["path"])
    assert init["x-graphql-document"].startswith("mutation UploadInit($filename: String!")


def test_an_answer_is_the_envelope_and_below_the_older_prefix_the_keys_beside_it() -> None:
    new, old = answer_of("UploadInit", 201), answer_of("UploadInitLegacy", 201)

    assert ["success", "data", "timestamp", "response_time_ms"] == list(new["properties"])
    assert {"uploadId", "upload_id", *new["properties"]} == set(old["properties"]) == set(old["required"])
    assert "string" == old["properties"]["uploadId"]["type"]


def test_a_page_comes_with_where_it_lies() -> None:
    pages = answer_of("UploadList")

    assert "#/components/schemas/Pagination" == pages["properties"]["pagination"]["$ref"]
    assert "array" == pages["properties"]["data"]["type"]
    names = [part["name"] for part in OPERATIONS["UploadList"]["parameters"]]
    assert ["page", "per_page", "limit", "offset"] == names[-4:]


def test_a_body_says_what_is_needed_and_what_may_be_null() -> None:
    body = OPERATIONS["UploadInit"]["requestBody"]["content"]["application/json"]["schema"]

    assert ["filename", "file_size"] == body["required"]
    assert "string" == body["properties"]["filename"]["type"]
    assert ["string", "null"] == body["properties"]["sha256"]["type"]


def test_a_form_says_which_of_its_fields_is_a_file() -> None:
    form = OPERATIONS["UploadChunk"]["requestBody"]["content"]["multipart/form-data"]["schema"]

    assert ["upload_id", "chunk_index", "file"] == form["required"]
    assert "application/octet-stream" == form["properties"]["file"]["contentMediaType"]


def test_every_code_is_explained_and_stands_at_its_status() -> None:
    codes = DOCUMENT["components"]["schemas"]["ErrorCode"]
    ours = {kind.code for kind in family() if not kind.__module__.startswith("tests.")}

    assert {*ours, "INTERNAL_ERROR"} == set(codes["enum"])
    assert [] == [
        code for code in codes["enum"] if code != Refusal.code and f"- `{code}`: " not in codes["description"]
    ]
    for response in DOCUMENT["components"]["responses"].values():
        shape = response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["error_code"]["enum"]
        assert 1 == len({status_of(code) for code in shape})


def test_who_may_use_it_is_said_as_it_is_asked() -> None:
    assert [[str(Permission.UPLOAD_INIT)]] == OPERATIONS["UploadChunk"]["x-permissions"]
    assert [{"bearer": []}] == OPERATIONS["UploadInit"]["security"]
    assert [{}, {"bearer": []}] == OPERATIONS["Health"]["security"]
    assert "403" in OPERATIONS["UploadInit"]["responses"]
    assert "403" not in OPERATIONS["Health"]["responses"]


def test_how_often_it_may_be_used_is_said_as_it_is_counted() -> None:
    limits = {limit["bucket"]: limit for limit in OPERATIONS["UploadInit"]["x-rateLimit"]}

    assert CATALOGUE["upload.init"].per_minute == limits["upload.init"]["limit"]
    assert (Class.USER.per_minute, 34) == (limits["user"]["limit"], limits["user"]["burst"])
    assert [600] == [limit["limit"] for limit in OPERATIONS["UploadChunk"]["x-rateLimit"]]
    assert all(each["x-rateLimit"] for each in OPERATIONS.values())


def test_a_key_that_makes_a_difference_can_be_sent_and_others_cannot() -> None:
    keyed = {
        name
        for name, each in OPERATIONS.items()
        if {"$ref": "#/components/parameters/Idempotency-Key"} in each.get("parameters", ())
    }

    assert {"UploadInit", "UploadFinalize", "AdminAction"} <= keyed
    assert not keyed & {"UploadList", "Health", "AuthRefresh"}


def test_the_body_of_an_action_is_one_of_all_told_apart_by_its_name() -> None:
    union = DOCUMENT["components"]["schemas"]["ActionRequest"]
    mapping = union["discriminator"]["mapping"]

    assert CATALOGUE.keys() == mapping.keys()
    assert [{"$ref": place} for place in mapping.values()] == union["oneOf"]
    for name, place in mapping.items():
        assert name == resolved({"$ref": place})["properties"]["action"]["const"]


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_what_an_action_takes_is_as_it_is_described_and_nothing_else_is(name: str) -> None:
    shape = {"$ref": "#/components/schemas/ActionRequest", "components": DOCUMENT["components"]}
    given = payloads.example(CATALOGUE[name], {})

    validator = Draft202012Validator(shape, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [] == list(validator.iter_errors({"action": name, "payload": given}))
    assert not validator.is_valid({"action": name, "payload": []})
    assert not validator.is_valid({"action": "job.unheard", "payload": given})


def test_recorded_calls_are_of_endpoints_that_there_are() -> None:
    assert {file.stem for file in examples.FOLDER.glob("*.json")} <= OPERATIONS.keys()
