"""What structs and typed dictionaries look like in JSON: as msgspec writes it, in the words of the description."""

from typing import Any, Final, get_args, get_type_hints, is_typeddict

import msgspec

from schema import docs
from schema.rest.json_schema import NULL, REF, Shape, nullable, without_null

_IDLE: Final[tuple[tuple[str, Any], ...]] = (("required", []), ("default", None))
"""What msgspec writes, and says nothing."""


def written(kinds: list[Any]) -> tuple[list[Shape], list[tuple[str, Shape]]]:
    """What Python types look like in JSON, and the components that they lead to, with the sentences under fields."""
    shapes, components = msgspec.json.schema_components(kinds, ref_template=f"{REF}{{name}}")
    texts: dict[str, list[dict[str, str]]] = {}
    for each in (found for kind in kinds for found in _classes(kind)):
        texts.setdefault(each.__name__, []).append(docs.of_fields(each))
    named = []
    for full_name, component in components.items():
        name, shape = _short(full_name), _tidied(component)
        said = texts.get(component.get("title", name), [])
        for field in shape.get("properties", {}):
            told = {each[field] for each in said if field in each}
            if len(told) == 1:
                shape["properties"][field] |= {"description": told.pop()}
        named.append((name, shape))
    return [_tidied(shape) for shape in shapes], named


def _classes(annotation: Any) -> set[type]:
    """The structs and typed dictionaries that an annotation speaks of, however deep inside."""
    found: set[type] = set()
    waiting = [annotation]
    while waiting:
        each = waiting.pop()
        waiting += get_args(each)
        if isinstance(each, type) and each not in found and (is_typeddict(each) or hasattr(each, "__struct_fields__")):
            found.add(each)
            waiting += get_type_hints(each, include_extras=True).values()
    return found


def _short(name: str) -> str:
    """What a component is called: as its class, and where several classes are called so by their module as well."""
    *_, module, kind = f".{name}".split(".")
    return "".join(word.capitalize() for word in module.split("_")) + kind


def _tidied(shape: Any) -> Any:
    """What msgspec writes, as the rest of the description has it: null said by a type where there is one."""
    if isinstance(shape, list | tuple):
        return [_tidied(each) for each in shape]
    if not isinstance(shape, dict):
        return shape
    if "$ref" in shape:
        kept = {key: value for key, value in shape.items() if key != "default" or not isinstance(value, dict)}
        return kept | {"$ref": REF + _short(shape["$ref"].removeprefix(REF))}
    tidied = {key: _tidied(value) for key, value in shape.items() if key != "title" and (key, value) not in _IDLE}
    # Generators of clients stop at these two, and nothing is lost: so many of one kind, and an object's own defaults.
    if isinstance(tidied.get("default"), dict):
        del tidied["default"]
    if (places := tidied.get("prefixItems")) and all(place == places[0] for place in places):
        tidied["items"] = tidied.pop("prefixItems")[0]
    if (
        isinstance(words := tidied.get("enum"), list)
        and "type" not in tidied
        and all(isinstance(w, str) for w in words)
    ):
        tidied["type"] = "string"
    if "properties" in tidied:
        tidied["properties"] = {name: _tidied(inner) for name, inner in shape["properties"].items()}
    choices = tidied.get("anyOf", ())
    if len(choices) == 2 and NULL in choices:
        around = {key: value for key, value in tidied.items() if key != "anyOf"}
        return nullable(without_null(tidied)[0]) | around
    return tidied
