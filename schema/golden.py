"""Who may do what, from where, how often, and what is kept of it: one line for each root field, in a file of its own.

The file is written from the same objects that admit, count and put on record. What has become looser since it was
written is not written over it, and does not pass the check, until a line of the file says why; what has become stricter
is. A change of the schema that breaks clients is named when it is written.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from graphql import GraphQLField, build_schema
from graphql.utilities import find_breaking_changes
from strawberry.schema.schema_converter import GraphQLCoreConverter

from db.models.identity import Role
from guards.permissions import OWN_ONLY, granted
from resolvers.actions import reading
from resolvers.actions.contract import Action
from schema.access import Access, Choosing, Guarded, Open
from schema.directives import Audited, Idempotent, RateLimit, Requires
from schema.root import schema

HEAD: Final = """\
# Who may use each root field, from where, how often, and what is kept of it. Written by `python -m agentos docs`.
#
# all: whoever's it is; own: what is somebody else's looks missing; yes: it is nobody's in particular; -: no;
# chosen: whoever may use the action that is chosen.
# from: anywhere, or inside (allowed addresses only) and house (the tenant that runs the installation only).
# rate: in any minute, by the limit that counts it. redact: fields of the input that are not put on record.
#
# What is looser than in this file is not written into it before a line below says why:
#   ! mutation jobCancel user=own: people asked to cancel what they began
"""
NOBODY: Final = "nobody"
RANKS: Final[Mapping[str, int]] = {"-": 0, "chosen": 1, "own": 1, "all": 2, "yes": 2}
KEPT: Final[Mapping[str, int]] = {"-": 0, "none": 0, "session": 1, "supported": 1, "natural": 1, "always": 2}

Line = dict[str, str]


def matrix() -> str:
    """The file, without what people wrote into it."""
    lines = [f"{name} " + " ".join(f"{key}={value}" for key, value in line.items()) for name, line in _lines()]
    return HEAD + "\n" + "\n".join(aligned(lines)) + "\n"


def looser(before: str, after: str) -> list[str]:
    """What `after` allows that `before` did not, without `before` saying why; each as the line that would say it."""
    known, now = parsed(before), parsed(after)
    said = {line.removeprefix("! ").partition(": ")[0] for line in remarks(before)}
    found = [
        f"{name} {key}={now[name].get(key, '-')}"
        for name in sorted(known.keys() & now.keys())
        for key, value in known[name].items()
        if _is_looser(key, value, now[name].get(key, "-"))
    ]
    return [change for change in found if change not in said]


def remarks(text: str) -> list[str]:
    """What people wrote into the file, with a reason."""
    return [line for line in text.splitlines() if re.fullmatch(r"! \S+ \S+ \S+=\S+: \S.*", line)]


def breaking(before: str, after: str) -> list[str]:
    """What clients of one schema can no longer do with another, both as SDL."""
    return [change.description for change in find_breaking_changes(build_schema(before), build_schema(after))]


def _lines() -> Iterator[tuple[str, Line]]:
    core = schema._schema
    for kind, root in (("query", core.query_type), ("mutation", core.mutation_type), ("watch", core.subscription_type)):
        for name, field in sorted(root.fields.items() if root else ()):
            yield f"{kind} {name}", _line(field)


def _line(field: GraphQLField) -> Line:
    declared = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    [access] = [each for each in declared.extensions if isinstance(each, Access)]
    said = access.directives()
    line = {str(role): _cell(access, role) for role in Role} | {NOBODY: _cell(access, None)}
    limits = [each for each in said if isinstance(each, RateLimit)]
    line["rate"] = ",".join(f"{each.bucket}:{each.limit * 60 // each.window}" for each in limits) or "-"
    line["from"] = _words(each.policy for each in said if isinstance(each, Requires)) or "anywhere"
    for each in said:
        if isinstance(each, Idempotent):
            line["idempotency"] = each.mode.value
        if isinstance(each, Audited):
            line |= {"audited": each.level.value, "redact": ",".join(each.redact or ()) or "-"}
    return line


def _words(policies: Iterable[Any]) -> str:
    return "+".join(policy.value for some in policies for policy in some or ())


def _cell(access: Access, role: Role | None) -> str:
    if isinstance(access, Open):
        return "yes"
    if role is None:
        return "-"
    if isinstance(access, Choosing):
        return "chosen"
    if isinstance(access, Guarded) and not any(granted(role).issuperset(way) for way in access.ways):
        return "-"
    if access.action is None or not _is_somebodys(access.action):
        return "yes"
    return "own" if role in OWN_ONLY else "all"


def _is_somebodys(action: Action[Any, Any]) -> bool:
    """Whether what an action is about belongs to somebody."""
    named = reading.fields(action.payload).get(action.target or "")
    return any("names" in (meta.extra or {}) for meta in reading.metas(named))


def _is_looser(key: str, before: str, now: str) -> bool:
    if key == "rate":
        return higher(before, now)
    if key == "from":
        return not set(before.split("+")) - {"anywhere"} <= set(now.split("+"))
    if key == "redact":
        return not set(before.split(",")) - {"-"} <= set(now.split(","))
    if key in ("idempotency", "audited"):
        return KEPT.get(now, 0) < KEPT.get(before, 0)
    return RANKS[now] > RANKS[before]


def higher(before: str, now: str) -> bool:
    """Whether one of several limits may be used more often than before, or does not count any more."""
    known, limits = _limits(before), _limits(now)
    return any(limits.get(name, limit + 1) > limit for name, limit in known.items())


def _limits(text: str) -> dict[str, int]:
    return {name: int(limit) for name, _, limit in (each.partition(":") for each in text.split(",")) if limit}


def parsed(text: str) -> dict[str, Line]:
    """The lines of a file, by the two words that each begins with."""
    rows = [line.split() for line in text.splitlines() if line and line[0] not in "#!"]
    return {f"{kind} {name}": dict(cell.split("=", 1) for cell in cells) for kind, name, *cells in rows}


def aligned(lines: Iterable[str]) -> list[str]:
    """Lines whose words stand below each other."""
    rows = [line.split() for line in lines]
    widths = [max((len(row[n]) for row in rows if n < len(row)), default=0) for n in range(max(map(len, rows)))]
    return [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
