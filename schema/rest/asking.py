"""What each endpoint is asked, as OpenAPI has it: parameters, headers, bodies, forms.

Of the names that clients know a value by, the first is described as itself and the others in words: a value under two
names in one request would be one too many.
"""

from typing import Any, Final, get_type_hints

from db.pages import MOST, MOST_SKIPPED
from guards import replays
from resolvers.actions import reading as payloads
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action
from schema import docs
from schema.rest.facts import Facts
from schema.rest.json_schema import Shape, nullable
from schema.rest.reading import USUAL
from schema.rest.rows import From, Place
from schema.rest.shapes import Shapes

PAGING: Final = (
    (
        "page",
        {"type": "integer", "minimum": 1, "maximum": MOST_SKIPPED + 1, "default": 1},
        f"Which page; at most {MOST_SKIPPED} entries are passed over. Not beside `offset`.",
    ),
    (
        "per_page",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
        "Entries of a page; not beside `limit`.",
    ),
    ("limit", {"type": "integer", "minimum": 1, "maximum": MOST}, "The same as `per_page`."),
    ("offset", {"type": "integer", "minimum": 0, "maximum": MOST_SKIPPED}, "Entries to pass over, instead of a page."),
)
KEY: Final = "Idempotency-Key"
UNION: Final = "ActionRequest"

Part = dict[str, Any]


def headers() -> dict[str, Part]:
    """Parameters that several endpoints share."""
    kept = int(replays.KEPT_FOR.total_seconds()) // 3600
    return {
        KEY: {
            "name": KEY,
            "in": "header",
            "required": False,
            "description": "Does it once, however often it is sent with this key; the answer is kept for "
            f"{kept} hours. `X-Idempotency-Key` is understood as well.",
            "schema": {"type": "string", "pattern": f"^{replays.PATTERN.pattern}$"},
        }
    }


def kinds(facts: Facts) -> list[Any]:
    """The Python types that say what an endpoint is asked."""
    found = [kind for kind in (facts.row.asks, facts.row.form) if kind is not None]
    found += [kind for source in facts.row.variables.values() if (kind := _read(source)) is not None]
    return found + ([action.payload for action in CATALOGUE.values()] if facts.chosen else [])


def parameters(facts: Facts, shapes: Shapes) -> list[Part]:
    """What stands in the path, the query string and the headers."""
    found = []
    sources = {name: source for name, source in facts.row.variables.items() if source.place is not Place.BODY}
    variables = shapes.variables(facts.stored.document, sources) if facts.stored else {}
    for variable, source in sources.items():
        shape = _shape(source, variables[variable], shapes)
        needed = source.place is Place.PATH or bool(facts.stored and variable in facts.stored.needed)
        found.append(_parameter(source.names[0], source.place, needed, shape, _also(source)))
    # What a native one reads of its path stands nowhere else.
    known = {part["name"] for part in found}
    for name in (part[1:-1] for part in facts.row.path.split("/") if part.startswith("{")):
        if name not in known:
            found.append(_parameter(name, Place.PATH, True, {"type": "string"}, None))
    if facts.row.asks is not None and not facts.reads_body:
        found += _asked(facts.row.asks, shapes)
    if facts.row.paged:
        found += [_parameter(name, Place.QUERY, False, shape, told) for name, shape, told in PAGING]
    if facts.keyed:
        found.append({"$ref": f"#/components/parameters/{KEY}"})
    return found


def _asked(kind: type, shapes: Shapes) -> list[Part]:
    """What a handler reads of the query string itself; an object in it is written as JSON."""
    shape = shapes.taken(kind)
    found = []
    for name, each in shape["properties"].items():
        part = _parameter(name, Place.QUERY, name in shape.get("required", ()), each, None)
        if shapes.resolved(part["schema"]).get("type") == "object":
            part["content"] = {"application/json": {"schema": part.pop("schema")}}
        found.append(part)
    return found


def body(facts: Facts, shapes: Shapes) -> Part | None:
    """What is sent, or None where nothing is."""
    if facts.row.form is not None:
        return {"required": True, "content": {"multipart/form-data": {"schema": _form(facts.row.form, shapes)}}}
    if not facts.reads_body:
        return None
    assert facts.stored is not None
    sources = facts.row.variables
    needed = any(sources[name].place is Place.BODY for name in facts.stored.needed if name in sources)
    shape = actions(shapes) if facts.chosen else _object(facts, shapes)
    return {"required": needed, "content": {"application/json": {"schema": shape}}}


def actions(shapes: Shapes) -> Shape:
    """One of all actions, told apart by `action`; each with the payload that it is checked against."""
    mapping = {}
    for action in CATALOGUE.values():
        name = f"{action.field[0].upper()}{action.field[1:]}Request"
        mapping[action.name] = shapes.named(name, _action(action, shapes))["$ref"]
    return shapes.named(
        UNION,
        {
            "oneOf": [{"$ref": place} for place in mapping.values()],
            "discriminator": {"propertyName": "action", "mapping": mapping},
        },
    )


def _action(action: Action[Any, Any], shapes: Shapes) -> Shape:
    payload = shapes.of(action.payload)
    needless = payloads.needless(action.payload)
    properties = {
        "action": {"type": "string", "const": action.name},
        "payload": nullable(payload) if needless else payload,
    }
    return {
        "type": "object",
        "description": docs.cut(action.doc),
        "properties": properties,
        "required": ["action", *(() if needless else ("payload",))],
    }


def _object(facts: Facts, shapes: Shapes) -> Shape:
    assert facts.stored is not None
    sources = {
        name: source for name, source in facts.row.variables.items() if source.place is Place.BODY and source.names
    }
    variables = shapes.variables(facts.stored.document, sources)
    asked = {} if facts.row.asks is None else shapes.taken(facts.row.asks)
    properties: dict[str, Shape] = {}
    required: list[str] = list(asked.get("required", ()))
    for variable, source in sources.items():
        shape = _shape(source, variables[variable], shapes)
        if variable not in facts.stored.needed:
            shape = nullable(shape)
        elif len(source.names) == 1:
            required.append(source.names[0])
        properties[source.names[0]] = _told(shape, _also(source))
        if variable in facts.stored.needed:
            # Of several names one is needed, whichever: a client that is made of this must be able to send any.
            properties |= {name: shape for name in source.names[1:] if "." not in name}
    properties |= asked.get("properties", {})
    closed = {"additionalProperties": False} if facts.row.strict else {}
    return {"type": "object", "properties": properties} | ({"required": required} if required else {}) | closed


def _shape(source: From, shape: Shape, shapes: Shapes) -> Shape:
    """What a value is like: as its variable has it, or as the function says that understands it."""
    kind = _read(source)
    return shape if kind is None else shapes.of(kind) | _description(shape)


def _read(source: From) -> Any:
    """What the function takes that understands a value; None where there is none, or where it takes anything."""
    if source.read is None:
        return None
    hints = get_type_hints(source.read, include_extras=True)
    first = next((kind for name, kind in hints.items() if name != "return"), Any)
    return None if first in (Any, object) else first


def _description(shape: Shape) -> Shape:
    return {"description": shape["description"]} if "description" in shape else {}


def _form(kind: type, shapes: Shapes) -> Shape:
    shape, fields = shapes.taken(kind), get_type_hints(kind)
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties = {name: file if field is bytes else shape["properties"][name] for name, field in fields.items()}
    required = [name for name in fields if name in shape["required"]]
    return {"type": "object", "properties": properties, "required": required}


def _parameter(name: str, place: Place, needed: bool, shape: Shape, told: str | None) -> Part:
    inner = {key: value for key, value in shape.items() if key != "description"}
    text = " ".join(each for each in (shape.get("description"), told) if each)
    part: Part = {"name": name, "in": str(place), "required": needed} | ({"description": text} if text else {})
    if inner.get("type") == "array":
        inner = {"minItems": 1, **inner}
        part |= {"style": "simple" if place is Place.PATH else "form", "explode": False}
    return part | {"schema": inner}


def _told(shape: Shape, text: str | None) -> Shape:
    if text is None:
        return shape
    return shape | {"description": " ".join(each for each in (shape.get("description"), text) if each)}


def _also(source: From) -> str | None:
    others = " or ".join(f"`{name}`" for name in source.names[1:])
    return f"Also called {others}." if others else None
