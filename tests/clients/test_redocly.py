"""Both descriptions of REST, by the linter of Redocly with everything it recommends."""

import json
from pathlib import Path

from schema.rest import openapi, openapi30
from schema.root import schema
from tests.clients.judging import Judged, asked, installed

QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


async def linted(folder: Path, **documents: object) -> Judged:
    installed("@redocly/cli")
    files = [folder / f"{name}.json" for name in documents]
    for file, document in zip(files, documents.values(), strict=True):
        file.write_text(json.dumps(document))
    arguments = ("lint", "--config", "redocly.yaml", "--format", "stylish", *map(str, files))
    return await asked("node_modules/@redocly/cli/bin/cli.js", *arguments, **QUIET)


async def test_nothing_is_found_wrong(tmp_path: Path) -> None:
    document = openapi.described(schema, "0")

    judged = await linted(tmp_path, newer=document, older=openapi30.lowered(document))

    assert 0 == judged.status, judged.told
    assert 2 == judged.told.count(": validated in")
    assert "warning" not in judged.told


async def test_something_that_is_wrong_is_found(tmp_path: Path) -> None:
    document = openapi.described(schema, "0")
    document["paths"]["/health"]["get"]["operationId"] = "Root"

    judged = await linted(tmp_path, broken=document)

    assert 1 == judged.status
    assert "operation-operationId-unique" in judged.told
