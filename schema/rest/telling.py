"""What each endpoint tells, as OpenAPI has it: the envelope, the keys for older clients, headers, refusals."""

import re
from typing import Any, Final, get_type_hints

from guards.errors import Refusal, family
from schema.rest.advice import ADVICE
from schema.rest.envelope import RESERVED, Pagination
from schema.rest.facts import FAULT, Facts
from schema.rest.json_schema import REF, Shape, without_null
from schema.rest.rows import Shown
from schema.rest.serving import Address
from schema.rest.shapes import Shapes

MOMENT: Final[Shape] = {"type": "string", "format": "date-time"}
WAITING: Final = frozenset({"CIRCUIT_OPEN", "IDEMPOTENCY_IN_PROGRESS", "MAINTENANCE", "RATE_LIMITED", "UNAVAILABLE"})
"""Refusals that may say when to try again."""

HEADERS: Final = {
    "RateLimit": ("What is left of each limit, and in how many seconds there is more.", '"user";r=99;t=1'),
    "RateLimit-Policy": ("The limits that the call counted against.", '"user";q=100;w=60'),
    "Retry-After": ("Whole seconds after which the same call may succeed.", "3"),
    "Idempotent-Replayed": ("`true` where nothing was done now: the answer is the one of the first call.", "true"),
    "Deprecation": ("Since when there is a successor (RFC 9745).", "@1795392000"),
    "Link": ("What has taken its place (RFC 8288).", '</api/v1/jobs/today>; rel="successor-version"'),
    "X-Trace-Id": ("Under which the call is found in the logs.", "4bf92f3577b34da6a3ce929d0e0e4736"),
}
MEANT: Final = {
    400: "What was sent does not fit.",
    401: "Nobody is signed in.",
    403: "This caller may not.",
    404: "There is no such thing.",
    409: "It does not fit the present state.",
    413: "Too much at once.",
    415: "A kind of content that is not taken.",
    422: "What was sent contradicts itself, or what was sent before.",
    429: "Asked too often.",
    500: "A fault of ours.",
    503: "Not just now.",
}
FAULT_MEANS: Final = "Something went wrong that nobody foresaw; it is in the log under the trace id of the answer."

Part = dict[str, Any]

_LINK: Final = re.compile(r"\[([^]]+)\]\([^)]+\)")


def headers() -> dict[str, Part]:
    """What answers say beside their body."""
    return {
        name: {"description": told, "schema": {"type": "string"}, "example": example}
        for name, (told, example) in HEADERS.items()
    }


def codes() -> Shape:
    """Every code there is, with what it means and what to do."""
    lines = [f"- `{code}`: {meaning(code)}" for code in sorted({*ADVICE, FAULT} - {Refusal.code})]
    return {
        "type": "string",
        "enum": sorted({*ADVICE, FAULT}),
        "description": "Why something was refused. Programs tell refusals apart by it, never by the message.\n\n"
        + "\n".join(lines),
    }


def meaning(code: str) -> str:
    """What a code means, and what its reader should do."""
    kinds = {kind.code: kind for kind in reversed(family())}
    if code not in kinds:
        return FAULT_MEANS
    said = (kinds[code].__doc__ or "").partition("\n")[0]
    # Pages that the guide refers to are not beside a description.
    advice = _LINK.sub(r"\1", ADVICE[code])
    return f"{said} {advice}"


def components(shapes: Shapes) -> None:
    """What every description has."""
    shapes.named("ErrorCode", codes())
    shapes.named(
        "Error",
        {
            "type": "object",
            "description": "A refusal.",
            "properties": {
                "success": {"type": "boolean", "const": False},
                "error": {"type": "string", "description": "For people."},
                "error_code": {"$ref": f"{REF}ErrorCode"},
                "timestamp": MOMENT,
                "detail": {"type": "string", "description": "The same as `error`; below `/api` only."},
            },
            "required": ["success", "error", "error_code", "timestamp"],
        },
    )
    shapes.of(Pagination)


def kinds(facts: Facts) -> list[Any]:
    """The Python types that say what an endpoint answers."""
    found = [] if (told := _answers(facts)) is None else [told]
    return found + [_made(shown) for shown in facts.row.beside.values() if not isinstance(shown, str)]


def responses(facts: Facts, address: Address, shapes: Shapes, *, shared: dict[str, Part]) -> dict[str, Part]:
    """All that may be answered at one of its addresses.

    Args:
        shared: where refusals are put that several endpoints have in common.
    """
    row = facts.row
    names = ["RateLimit", "RateLimit-Policy", "X-Trace-Id", *(["Idempotent-Replayed"] if facts.keyed else ())]
    if address.older:
        names += ["Deprecation", "Link"]
    found: dict[str, Part] = {
        str(row.status): {
            "description": row.summary,
            "headers": _headers(names),
            "content": {"application/json": {"schema": _envelope(facts, shapes, legacy=address.beside)}},
        }
    }
    for status, said in facts.codes().items():
        name = f"{status}-{'-'.join(said)}"
        shared.setdefault(name, _refused(status, said))
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found


def data(facts: Facts, shapes: Shapes) -> tuple[Shape, Shape]:
    """What `data` is like, and everything else that keys for older clients are read from."""
    row = facts.row
    if facts.stored is None:
        kind = _answers(facts)
        shape: Shape = {} if kind is None else shapes.of(kind)
        return shape, {"properties": {"data": shape}}
    answer = shapes.answer(facts.stored.document)
    shape = answer
    for step in row.shown:
        shape, _ = without_null(shape["properties"][step])
    if row.paged:
        edges, _ = without_null(shapes.at(shape, ("edges",)))
        node, _ = without_null(edges["items"]["properties"]["node"])
        shape = {"type": "array", "items": shapes.named(f"{facts.name}Entry", node)}
    elif "properties" in shape:
        shape = shapes.named(f"{facts.name}Data", shape)
    beside = {"data": shape} | ({"pagination": {"$ref": f"{REF}Pagination"}} if row.paged else {})
    return shape, {"properties": answer["properties"] | beside}


def _envelope(facts: Facts, shapes: Shapes, *, legacy: bool) -> Shape:
    shape, whole = data(facts, shapes)
    properties: dict[str, Shape] = {"success": {"type": "boolean", "const": True}, "data": shape}
    if facts.row.paged:
        properties["pagination"] = {"$ref": f"{REF}Pagination"}
    properties |= {
        "timestamp": MOMENT,
        "response_time_ms": {"type": "number", "minimum": 0, "description": "How long it took here, measured."},
    }
    beside: dict[str, Shape] = {}
    if legacy:
        for key, shown in facts.row.beside.items():
            found = _beside(shown, whole, shapes)
            spread = shapes.resolved(found).get("properties", {}) if key == "*" else {key: found}
            beside |= {name: each for name, each in spread.items() if name not in RESERVED}
    return {"type": "object", "properties": beside | properties, "required": [*beside, *properties]}


def _beside(shown: Shown, whole: Shape, shapes: Shapes) -> Shape:
    if isinstance(shown, str):
        return shapes.at(whole, shown.split("."))
    return shapes.of(_made(shown))


def _answers(facts: Facts) -> Any:
    """What `data` is where no operation says so; None where nobody does."""
    row = facts.row
    return row.answers or (get_type_hints(row.native, include_extras=True)["return"] if row.native else None)


def _made(shown: Any) -> Any:
    """What a key for older clients is, when it is no path."""
    return shown if isinstance(shown, type) else get_type_hints(shown, include_extras=True)["return"]


def _refused(status: int, said: list[str]) -> Part:
    told = "\n".join(f"- `{code}`: {meaning(code)}" for code in said)
    shape = {
        "allOf": [
            {"$ref": f"{REF}Error"},
            {"type": "object", "properties": {"error_code": {"type": "string", "enum": said}}},
        ]
    }
    names = ["X-Trace-Id", *(["Retry-After"] if WAITING.intersection(said) else ())]
    if status == 429:
        names += ["RateLimit", "RateLimit-Policy"]
    return {
        "description": f"{MEANT[status]}\n\n{told}",
        "headers": _headers(names),
        "content": {"application/json": {"schema": shape}},
    }


def _headers(names: list[str]) -> dict[str, Part]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
