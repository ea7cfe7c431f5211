"""REST as OpenAPI 3.1 describes it, made of the endpoint table: every row below each of its prefixes.

What is below the older prefix is marked deprecated and names its successor. It is the same endpoint, and counts once:
`x-endpoint` is its number in the table.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphql import print_ast
from strawberry.schema.base import BaseSchema

from schema.directives import RateLimit
from schema.rest import asking, examples, facts, telling
from schema.rest.endpoints import ENDPOINTS
from schema.rest.facts import Facts
from schema.rest.rows import Endpoint, Tag
from schema.rest.serving import NEWEST, Address, addresses, newest
from schema.rest.shapes import Shapes

VERSION: Final = "3.1.0"
BEARER: Final = "bearer"

TAGS: Final[Mapping[Tag, str]] = {
    Tag.ADMIN: "The console's snapshot, and the one door through which it acts.",
    Tag.JOBS: "Jobs: made, looked at, called off and tried again.",
    Tag.AGENTS: "The agents: how they stand, and how they are steered.",
    Tag.UPLOAD: "Uploads: begun, filled chunk by chunk, finalized into a file that a job takes.",
    Tag.QUEUE: "The queue that jobs wait in.",
    Tag.CLIPS: "What jobs were cut into.",
    Tag.SYSTEM: "What a server says about itself.",
    Tag.MISC: "Figures of the whole, and new tokens.",
}
ABOUT: Final = (
    "Video jobs through eleven agents to clips. Each endpoint runs a stored operation of the GraphQL schema, so that "
    f"the same guards stand around it. `{NEWEST}` answers the envelope and nothing else; `/api` answers the same, with "
    "the keys that older clients read at the top level, and is deprecated.\n\n"
    "A limit is said in the words of each endpoint and in `x-rateLimit`; what is left of it is in the headers "
    "`RateLimit` and `RateLimit-Policy` of every answer. What was refused is told apart by its `error_code`."
)

Document = dict[str, Any]


def described(schema: BaseSchema, version: str, rows: Sequence[Endpoint] = ENDPOINTS) -> Document:
    """The whole description.

    Args:
        version: of the application.
    """
    core: Any = schema._schema  # type: ignore[attr-defined]  # what documents are validated with
    known = facts.of(rows, schema)
    kinds = {kind: None for each in known for kind in (*asking.kinds(each), *telling.kinds(each))}
    shapes, refused = Shapes(core, kinds), dict[str, Any]()
    telling.components(shapes)
    paths: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(known, start=1):
        for address in addresses(each.row):
            place = paths.setdefault(address.path, {})
            place[each.row.method.lower()] = _operation(each, number, address, shapes, refused)
    return {
        "openapi": VERSION,
        "info": {
            "title": "AgentOS",
            "version": version,
            "summary": "Video jobs, watched and steered",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": str(tag), "description": told} for tag, told in TAGS.items()],
        "paths": dict(sorted(paths.items(), key=_newest_first)),
        "components": {
            "schemas": shapes.used([paths, refused]),
            "responses": dict(sorted(refused.items())),
            "parameters": asking.headers(),
            "headers": telling.headers(),
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token; `login` and `refresh` of the GraphQL schema give one, and "
                    f"`{NEWEST}/auth/refresh` renews it.",
                }
            },
        },
    }


def referred(part: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a description, wherever in it that is written."""
    while "$ref" in part:
        found: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def _operation(each: Facts, number: int, address: Address, shapes: Shapes, refused: dict[str, Any]) -> dict[str, Any]:
    row, older = each.row, address.older
    said: dict[str, Any] = {
        "operationId": f"{each.name}Legacy" if older else each.name,
        "tags": [str(row.tag)],
        "summary": row.summary.rstrip("."),
        "description": _description(each, older=older),
    }
    if older or row.deprecated:
        said["deprecated"] = True
    if parameters := asking.parameters(each, shapes):
        said["parameters"] = parameters
    if (body := asking.body(each, shapes)) is not None:
        said["requestBody"] = body
    said["responses"] = telling.responses(each, address, shapes, shared=refused)
    said["security"] = [*([{}] if each.public else ()), {BEARER: []}]
    said["x-endpoint"] = number
    said["x-rateLimit"] = [_limit(limit) for limit in each.limits]
    if each.ways:
        said["x-permissions"] = [[str(word) for word in way] for way in each.ways]
    if each.stored is not None:
        said["x-graphql-document"] = print_ast(each.stored.document)
    if not older:
        examples.added(said, each.name, row.status)
    return said


def _description(each: Facts, *, older: bool) -> str:
    row = each.row
    told = [row.summary]
    if each.chosen:
        told.append("Needs the permission of the action, which is its name, from an allowed address.")
    elif each.public:
        told.append("Everybody may.")
    else:
        told.append(
            f"Needs {' or '.join(' and '.join(f'`{word}`' for word in way) for way in each.ways)}{_roles(each)}."
        )
        if "inside" in each.policies:
            told.append("Only from an allowed address.")
        if "house" in each.policies:
            told.append("Only for the tenant that runs the installation.")
    told += [_in_words(limit) for limit in each.limits]
    if each.stored is not None and each.stored.changes and row.method == "GET":
        told.append("It changes something although it is a GET; it is kept for the clients that call it so.")
    if older:
        told.append(f"`{newest(row)}` has taken its place.")
    return "\n\n".join([told[0], " ".join(told[1:])])


def _roles(each: Facts) -> str:
    able = each.roles
    return f", which {', '.join(able)} {'has' if len(able) == 1 else 'have'}" if able else ""


def _limit(limit: RateLimit) -> dict[str, Any]:
    burst = {"burst": limit.burst} if isinstance(limit.burst, int) else {}
    return {
        "bucket": limit.bucket,
        "limit": limit.limit,
        "window": limit.window,
        "algorithm": limit.algorithm.value,
        **burst,
    }


def _in_words(limit: RateLimit) -> str:
    burst = f", {limit.burst} of them in any ten seconds" if isinstance(limit.burst, int) else ""
    return f"At most {limit.limit} calls in {limit.window} seconds (`{limit.bucket}`){burst}."


def _newest_first(path: tuple[str, Any]) -> tuple[bool, bool, str]:
    older = path[0].startswith("/api/") and not path[0].startswith(f"{NEWEST}/")
    return older, not re.match(r"/api/", path[0]), path[0]
