"""What endpoints really answer is what the description of REST says; with `--examples` it is put into the description.

`python -m pytest tests/agentos/test_examples.py --examples`, then `python -m agentos docs`. Recorded are ids that count
up, one moment for all times, and the first entries of each list; what else there may be is in the shape of an answer.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from agentos.app import create_app
from agentos.settings import Settings
from db import seed
from db.models.identity import DEFAULT_TENANT, Role
from resolvers.context import Services
from schema.rest import examples, facts
from schema.rest.endpoints import ENDPOINTS
from schema.rest.facts import Facts
from schema.rest.serving import NEWEST, PREFIXES
from schema.root import schema
from tests.agentos.conftest import TokenOf
from tests.agentos.test_every_endpoint import Shelf
from tests.calls import CALLS, Case, Things, name_of, path_of, sent_with
from tests.conftest import People
from tests.described import DOCUMENT
from tests.onlooking import Onlooker
from tests.serving import Served, served
from workers.agents.roster import ROSTER

FACTS: Final = facts.of(ENDPOINTS, schema)

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
TRACE: Final = re.compile(r"[0-9a-f]{32}")
LINK: Final = re.compile(r"https?://[^/]+(/files/)[^?\"]+")
SECRETS: Final = frozenset({"access_token", "refresh_token"})


@pytest_asyncio.fixture
async def whole(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application, with a little history behind it."""
    await seed.fill(
        services.database,
        DEFAULT_TENANT,
        jobs=8,
        events=4,
        chain=[agent.id for agent in ROSTER][:4],
        seed=1,
        now=datetime.now(UTC),
    )
    async with served(create_app(settings, services)) as running:
        yield running


def closed(part: Any) -> Any:
    """A shape that takes nothing beside what it names."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: closed(value) for key, value in part.items() if key != "discriminator"}
    if isinstance(part.get("properties"), dict) and "allOf" not in part:
        found.setdefault("additionalProperties", False)
    return found


COMPONENTS: Final = closed(deepcopy(DOCUMENT["components"]))


def faults(operation: dict[str, Any], answer: httpx.Response) -> list[str]:
    """How an answer differs from what is said of it; an answer that went well has nothing beside it."""
    response = operation["responses"].get(str(answer.status_code))
    if response is None:
        return [f"{answer.status_code} is not described"]
    if "$ref" in response:
        shape = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
        content, components = shape["content"], DOCUMENT["components"]
    else:
        content, components = closed(response["content"]), COMPONENTS
    shape = content["application/json"]["schema"] | {"components": components}
    validator = Draft202012Validator(shape, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(answer.json())]


def recorded(value: Any, ids: dict[str, str]) -> Any:
    """An answer as it is kept."""
    if isinstance(value, dict):
        kept = {key: "…" if key in SECRETS else recorded(each, ids) for key, each in value.items()}
        return kept | ({"response_time_ms": 4.2} if "response_time_ms" in kept else {})
    if isinstance(value, list):
        return [recorded(each, ids) for each in value[: 2 if isinstance(value[0] if value else None, dict) else 3]]
    if not isinstance(value, str):
        return value
    text = UUID.sub(lambda found: ids.setdefault(found[0], f"00000000-0000-7000-8000-{len(ids) + 1:012}"), value)
    text = TRACE.sub("4bf92f3577b34da6a3ce929d0e0e4736", MOMENT.sub("2026-11-23T12:00:00Z", text))
    return LINK.sub(r"http://127.0.0.1:8001\1…", text)


def asked(client: httpx.AsyncClient, each: Facts, prefix: str, case: Case, things: Things) -> httpx.Request:
    """A call of an endpoint."""
    call = CALLS[name_of(each.row)]
    path = f"{prefix}{path_of(each.row, call, case, things)}"
    return client.build_request(each.row.method, path, **sent_with(call, case, things))


def keep(each: Facts, request: httpx.Request, answer: httpx.Response) -> None:
    """Put a call among the examples."""
    ids: dict[str, str] = {}
    is_json = request.headers.get("content-type") == "application/json"
    path = request.url.raw_path.decode().removeprefix(NEWEST)
    example = {
        "path": recorded(path, ids),
        "request": recorded(json.loads(request.content), ids) if is_json else None,
        "answer": recorded(answer.json(), ids),
    }
    examples.FOLDER.mkdir(exist_ok=True)
    written = json.dumps(example, indent=1, ensure_ascii=False) + "\n"
    (examples.FOLDER / f"{each.name}.json").write_text(written, encoding="utf-8")


def cases(each: Facts) -> Iterator[tuple[Case, str, str]]:
    """What is asked of an endpoint: its case, below which prefix, and the operation that describes it."""
    for case in CALLS[name_of(each.row)].cases:
        if case is not Case.FOREIGN:
            for prefix, legacy in PREFIXES.items() if each.row.own is None else [("", False)]:
                yield case, prefix, f"{each.name}Legacy" if legacy else each.name


OPERATIONS: Final = {
    operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()
}


@pytest.mark.slow
async def test_what_is_answered_is_what_is_described(
    whole: Served,
    services: Services,
    onlooker: Onlooker,
    people: People,
    token_of: TokenOf,
    request: pytest.FixtureRequest,
) -> None:
    admin = people[Role.ADMIN]
    whole.client.headers["authorization"] = f"Bearer {token_of(admin)}"
    wrong, shelf = {}, Shelf(services, admin, people[Role.USER])
    for each in FACTS:
        for case, prefix, name in cases(each):
            await onlooker.forget()
            things = await shelf.of(case, CALLS[name_of(each.row)].needs, used_up=each.changes)
            sent = asked(whole.client, each, prefix, case, things)

            answer = await whole.client.send(sent)

            found = faults(OPERATIONS[name], answer)
            if case is Case.OWN and each.row.status != answer.status_code:
                found.append(f"{answer.status_code} {answer.text[:200]}")
            if found:
                wrong[f"{name_of(each.row)} {case} {prefix}"] = found[:4]
            elif case is Case.OWN and prefix in ("", NEWEST) and request.config.getoption("--examples"):
                keep(each, sent, answer)
    assert {} == wrong


def test_an_answer_with_something_beside_it_or_without_something_is_not_what_is_described() -> None:
    good = {"success": True, "data": {}, "timestamp": "2026-11-23T12:00:00Z", "response_time_ms": 1.5}
    good["data"] = {"name": "AgentOS", "version": "5", "links": {}}
    told = {**good, **good["data"]}  # type: ignore[dict-item]  # the keys of `/` stand at the top level, too

    operation = OPERATIONS["Root"]
    assert [] == faults(operation, httpx.Response(200, json=told))
    assert [] != faults(operation, httpx.Response(200, json=told | {"more": 1}))
    assert [] != faults(operation, httpx.Response(200, json={key: told[key] for key in told if key != "links"}))
    assert [] != faults(operation, httpx.Response(418, json=told))


@pytest.mark.parametrize("file", sorted(examples.FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_what_was_recorded_is_still_what_is_described(file: Path) -> None:
    example = examples.of(file.stem)
    operation = OPERATIONS[file.stem]

    assert example is not None
    [status] = [status for status in operation["responses"] if status.startswith("2")]
    assert [] == faults(operation, httpx.Response(int(status), json=example["answer"]))


def test_every_endpoint_has_an_example() -> None:
    assert {each.name for each in FACTS} == {file.stem for file in examples.FOLDER.glob("*.json")}
