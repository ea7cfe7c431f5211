"""What clients of REST rely on: which of it a newer description no longer promises.

What is added breaks nobody; what goes, what is asked for beside what was, and what is of another kind does.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from schema.rest.openapi import referred

Document = Mapping[str, Any]
Shape = Mapping[str, Any]

DEEPEST: Final = 12
"""How far a shape is followed; one that holds itself has no end."""


def broken(before: Document, after: Document) -> list[str]:
    """What clients of one description can no longer rely on in another."""
    return [fault for place in before["paths"] for fault in _path(place, before, after)]


def _path(place: str, before: Document, after: Document) -> Iterator[str]:
    now = after["paths"].get(place, {})
    for method, operation in before["paths"][place].items():
        name = f"{method.upper()} {place}"
        if method not in now:
            yield f"{name} is gone"
            continue
        yield from (f"{name}: {fault}" for fault in _parameters(operation, now[method], before, after))
        yield from (f"{name}: {fault}" for fault in _body(operation, now[method], before, after))
        yield from (f"{name}: {fault}" for fault in _answer(operation, now[method], before, after))


def _parameters(operation: Shape, now: Shape, before: Document, after: Document) -> Iterator[str]:
    known = {referred(part, before)["name"]: referred(part, before) for part in operation.get("parameters", ())}
    there = {referred(part, after)["name"]: referred(part, after) for part in now.get("parameters", ())}
    for name in known.keys() - there.keys():
        yield f"the parameter {name} is gone"
    for name, part in there.items():
        if part.get("required") and not known.get(name, {}).get("required"):
            yield f"the parameter {name} is needed now"


def _body(operation: Shape, now: Shape, before: Document, after: Document) -> Iterator[str]:
    known, there = (_content(part.get("requestBody", {})) for part in (operation, now))
    if there and not known:
        yield "a body is needed now"
        return
    for kind, shape in known.items():
        if kind not in there:
            yield f"a body of {kind} is no longer taken"
        else:
            yield from _taken("body", referred(shape, before), referred(there[kind], after), before, after)


def _taken(place: str, shape: Shape, now: Shape, before: Document, after: Document) -> Iterator[str]:
    for name in sorted(shape.get("properties", {}).keys() - now.get("properties", {}).keys()):
        yield f"{place}.{name} is no longer taken"
    for name in sorted(set(now.get("required", ())) - set(shape.get("required", ()))):
        yield f"{place}.{name} is needed now"
    known, there = (each.get("discriminator", {}).get("mapping", {}) for each in (shape, now))
    for name, reference in known.items():
        if name not in there:
            yield f"{place}: {name} is no longer taken"
        else:
            inner = [referred({"$ref": place}, text) for place, text in ((reference, before), (there[name], after))]
            yield from _taken(name, inner[0], inner[1], before, after)


def _answer(operation: Shape, now: Shape, before: Document, after: Document) -> Iterator[str]:
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in now["responses"]:
            yield f"it no longer answers {status}"
            continue
        there = _content(now["responses"][status])
        for kind, shape in _content(response).items():
            if kind not in there:
                yield f"it no longer answers {kind}"
            else:
                yield from _told("", referred(shape, before), referred(there[kind], after), before, after, DEEPEST)


def _told(place: str, shape: Shape, now: Shape, before: Document, after: Document, deeper: int) -> Iterator[str]:
    if deeper == 0:
        return
    where = place.lstrip(".") or "the answer"
    if more := _kinds(now) - _kinds(shape):
        yield f"{where} may be {' or '.join(sorted(more))} now"
        return
    shape, now = _there(shape, before), _there(now, after)
    for name, inner in shape.get("properties", {}).items():
        if name not in now.get("properties", {}):
            yield f"{where} has no {name} any more"
            continue
        found = referred(now["properties"][name], after)
        yield from _told(f"{place}.{name}", referred(inner, before), found, before, after, deeper - 1)
    # A list of so many places has no items beside them.
    if shape.get("items") and now.get("items"):
        items = referred(shape["items"], before), referred(now["items"], after)
        yield from _told(f"{place}[]", *items, before, after, deeper - 1)


def _kinds(shape: Shape) -> set[str]:
    """What of JSON a value may be; nothing where that is not said."""
    if "anyOf" in shape:
        return {kind for each in shape["anyOf"] for kind in _kinds(each) or {"object"}}
    kinds = shape.get("type", ())
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _there(shape: Shape, document: Document) -> Shape:
    """What it is when it is not null."""
    choices = [each for each in shape.get("anyOf", ()) if each != {"type": "null"}]
    return referred(choices[0], document) if len(choices) == 1 else shape


def _content(part: Shape) -> dict[str, Shape]:
    return {kind: content["schema"] for kind, content in part.get("content", {}).items()}
