"""The ten rules that the table of endpoints is governed by, each checked against what is served and described.

They are the specification's: its governance rules, design principles and checklist. What a rule lets pass although it
breaks it stands beside the rule with the reason; an exception that excuses nothing any more breaks its rule as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from graphql import get_named_type
from strawberry.schema.base import BaseSchema

from guards.allowances import Class
from schema.directives import Audited, AuditLevel
from schema.rest import facts, openapi, terms
from schema.rest.endpoints import ENDPOINTS
from schema.rest.rows import Endpoint, Tag
from schema.rest.serving import PREFIXES, addresses
from schema.rest.terms import Terms

MOST: Final = 50
ENVELOPE: Final = ("success", "data", "timestamp", "response_time_ms")
METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
ADMIN: Final = frozenset({Class.ADMIN_READ, Class.ADMIN_ACTION})

_WORD: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PARAMETER: Final = re.compile(r"{[a-z]+(_[a-z]+)*}")
_VERSIONED: Final = re.compile(r"/api/v[1-9][0-9]*")
_CONSOLE_READS: Final = re.compile(r"/admin/(ssot(/[a-z]+)?|action/status)")


class Standing(StrEnum):
    """How much of the budget of endpoints is used up."""

    HEALTHY = "healthy"
    CAUTION = "caution"
    WARNING = "warning"
    CRITICAL = "critical"

    @classmethod
    def of(cls, endpoints: int) -> "Standing":
        """That of so many: fewer than 40 are healthy, up to 45 call for caution, up to 50 are a warning."""
        limits = ((39, cls.HEALTHY), (45, cls.CAUTION), (MOST, cls.WARNING))
        return next((standing for most, standing in limits if endpoints <= most), cls.CRITICAL)


@dataclass(frozen=True, slots=True)
class Table:
    """What is judged: the rows on the terms that they are served on, and how OpenAPI describes them."""

    terms: Sequence[Terms]
    described: Mapping[str, Any]

    def descriptions(self, each: Terms) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
        """What is said of a row at each of its addresses; None where it is not described."""
        for address in addresses(each.row):
            yield address.path, self.described["paths"].get(address.path, {}).get(each.row.method.lower())

    def answer(self, said: Mapping[str, Any], status: str) -> Mapping[str, Any]:
        """The schema of an answer; empty where there is none."""
        response = self.referred(said["responses"].get(status, {}))
        found: Mapping[str, Any] = response.get("content", {}).get("application/json", {}).get("schema", {})
        return self.referred(found)

    def has_example(self, said: Mapping[str, Any], status: str) -> bool:
        """Whether an answer is shown as one was."""
        content = self.referred(said["responses"].get(status, {})).get("content", {})
        return any(each.get("examples") for each in content.values())

    def referred(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """A part of the description, wherever it is written."""
        return openapi.referred(part, self.described)


Failures = Iterable[tuple[str, str]]
"""An endpoint, as its method and path, and what is wrong with it; an empty name is the table as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    name: str
    asks: str
    stated: str
    """Where the specification states it."""

    check: Callable[[Table], Failures]
    exceptions: Mapping[str, str] = field(default_factory=dict)
    """Endpoints that may break it, each with the reason."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a table stands to one rule."""

    rule: Rule
    failures: tuple[str, ...]
    """What is wrong, and where."""

    excused: tuple[str, ...]
    """What would be, and why it is not."""

    @property
    def kept(self) -> bool:
        """Whether it is kept."""
        return not self.failures


def served(schema: BaseSchema, version: str) -> Table:
    """The table as it is served."""
    return table(schema, version, ENDPOINTS)


def table(schema: BaseSchema, version: str, rows: Sequence[Endpoint]) -> Table:
    """Some rows as they would be."""
    return Table(terms.of(facts.of(rows, schema)), openapi.described(schema, version, rows))


def judged(found: Table, rules: Iterable[Rule] | None = None) -> list[Judgement]:
    """How a table stands to each rule."""
    return [_judged(found, rule) for rule in (RULES if rules is None else rules)]


def name_of(row: Endpoint) -> str:
    """What a row is called."""
    return f"{row.method} {row.path}"


def _judged(found: Table, rule: Rule) -> Judgement:
    wrong = list(rule.check(found))
    excused = [f"{name}: {rule.exceptions[name]}" for name, _ in wrong if name in rule.exceptions]
    idle = rule.exceptions.keys() - {name for name, _ in wrong}
    failures = [f"{name}: {what}" if name else what for name, what in wrong if name not in rule.exceptions]
    failures += [f"{name}: an exception that excuses nothing; take it out" for name in sorted(idle)]
    return Judgement(rule, tuple(failures), tuple(dict.fromkeys(excused)))


def _budget(found: Table) -> Failures:
    if len(found.terms) > MOST:
        yield "", f"{len(found.terms)} endpoints are more than {MOST}"


def _tags(found: Table) -> Failures:
    for each in found.terms:
        row = each.row
        if row.tag not in tuple(Tag):
            yield name_of(row), "it belongs to no chapter"
        elif row.tag not in (Tag.SYSTEM, Tag.MISC) and row.path.split("/")[1] != row.tag:
            yield name_of(row), f"it is told in the chapter {row.tag}, to which its path does not belong"


def _paths(found: Table) -> Failures:
    if not any(map(_VERSIONED.fullmatch, PREFIXES)):
        yield "", "no prefix is that of a version"
    for each in found.terms:
        row = each.row
        parts = row.path.split("/")[1:] if row.path != "/" else []
        if wrong := [part for part in parts if not (_WORD.fullmatch(part) or _PARAMETER.fullmatch(part))]:
            yield name_of(row), f"{wrong[0]!r} is neither a lowercase word nor a parameter"
        if row.own and row.path not in ("/", "/health"):
            yield name_of(row), "it is served outside of every version"


def _methods(found: Table) -> Failures:
    for each in found.terms:
        row = each.row
        if row.method not in METHODS:
            yield name_of(row), f"{row.method} is none of {', '.join(sorted(METHODS))}"
        elif row.method == "GET" and each.facts.changes:
            yield name_of(row), "a GET changes something"
        elif row.method != "GET" and not each.facts.changes:
            yield name_of(row), f"a {row.method} changes nothing"


def _authentication(found: Table) -> Failures:
    for each in found.terms:
        row = each.row
        if each.level is Class.PUBLIC and row.own is None:
            yield name_of(row), "everybody may"
        if row.path.startswith("/admin/") and each.level not in ADMIN:
            yield name_of(row), f"it is the console's, and for the level {each.level}"


def _limits(found: Table) -> Failures:
    for each in found.terms:
        if not each.limits:
            yield name_of(each.row), "nothing limits how often it is asked"
        elif each.limit > each.level.per_minute:
            yield name_of(each.row), f"{each.limit} a minute are more than the {each.level.per_minute} of {each.level}"


def _envelopes(found: Table) -> Failures:
    for each in found.terms:
        for path, said in found.descriptions(each):
            if said is None:
                continue
            answer = found.answer(said, str(each.row.status))
            if missing := [key for key in ENVELOPE if key not in answer.get("required", ())]:
                yield name_of(each.row), f"{path} answers without {', '.join(missing)}"
            if bare := [status for status in said["responses"] if status >= "4" and not _refuses(found, said, status)]:
                yield name_of(each.row), f"{path} refuses with {bare[0]} in a form of its own"


def _refuses(found: Table, said: Mapping[str, Any], status: str) -> bool:
    """Whether an answer has the form of every refusal."""
    schema = found.answer(said, status)
    parts = [found.referred(part) for part in schema.get("allOf", schema.get("anyOf", [schema]))]
    return any({"success", "error", "error_code", "timestamp"} <= set(part.get("required", ())) for part in parts)


def _input(found: Table) -> Failures:
    for each in found.terms:
        row, stored = each.row, each.facts.stored
        for variable, kind in (stored.types if stored else {}).items():
            if get_named_type(kind).name == "JSON":
                yield name_of(row), f"${variable} may be anything"
        for path, said in found.descriptions(each):
            takes = said is not None and "requestBody" in said
            if row.method in ("POST", "PUT") and stored is None and not takes:
                yield name_of(row), f"{path} does not say what it is sent"


def _documentation(found: Table) -> Failures:
    for each in found.terms:
        row = each.row
        if not re.fullmatch(r"[A-Z].{8,}\.", row.summary, re.DOTALL):
            yield name_of(row), "its summary is no sentence"
        for path, said in found.descriptions(each):
            if said is None:
                yield name_of(row), f"{path} is not described"
            elif not said.get("x-rateLimit"):
                yield name_of(row), f"{path} is described without its limit"
            elif not any(status.startswith("4") for status in said["responses"]):
                yield name_of(row), f"{path} is described without what it refuses"
            elif not said.get("deprecated") and not found.has_example(said, str(row.status)):
                yield name_of(row), f"{path} is described without an example"


def _administration(found: Table) -> Failures:
    for each in found.terms:
        row = each.row
        if row.path.startswith("/admin/"):
            one_of_the_two = row.method == "GET" and _CONSOLE_READS.fullmatch(row.path)
            if not one_of_the_two and name_of(row) != "POST /admin/action":
                yield name_of(row), "the console reads through /admin/ssot and acts through /admin/action"
        elif each.level in ADMIN:
            yield name_of(row), f"it is for the level {each.level}, and not below /admin"
        audited = any(isinstance(said, Audited) and said.level is AuditLevel.ALWAYS for said in each.facts.said)
        if each.facts.changes and not audited:
            yield name_of(row), "what it does is not put on record"


RULES: Final = (
    Rule(
        name="budget",
        asks=f"at most {MOST} endpoints; fewer than 40 are healthy, 40 to 45 caution, up to {MOST} a warning",
        stated="Governance Rules 1; Governance Checklist: endpoint count under 50 limit",
        check=_budget,
    ),
    Rule(
        name="tags",
        asks="every endpoint has a tag, and it is the one its path belongs to",
        stated="Governance Rules 2; Governance Checklist: endpoints properly categorized, proper tags",
        check=_tags,
    ),
    Rule(
        name="paths",
        asks="lowercase words joined by hyphens, below a prefix with a version",
        stated="Endpoint Design Principles 2 and 3: consistent naming, versioning support",
        check=_paths,
    ),
    Rule(
        name="methods",
        asks="GET looks; POST, PUT and DELETE do",
        stated="Endpoint Design Principles 1 and 4: RESTful patterns, proper HTTP methods",
        check=_methods,
        exceptions={
            "GET /jobs/{job_id}/retry": "the specification lists it so and old clients call it; it takes the same "
            "permission as any retry",
        },
    ),
    Rule(
        name="authentication",
        asks="all but / and /health take a token and name a permission; what is the console's, an administrator's",
        stated="Security & Access Control: Authentication Levels; Governance Checklist: authentication on all "
        "protected routes",
        check=_authentication,
        exceptions={
            "POST /auth/refresh": "whoever renews a token has none that is good any more; what renews it is verified",
            "GET /admin/action/status": "it shows callers what they themselves may and did, nothing of the house",
        },
    ),
    Rule(
        name="limits",
        asks="every endpoint has a limit, and none beyond that of its level",
        stated="Security & Access Control: Rate Limiting; Governance Checklist: rate limiting implemented",
        check=_limits,
        exceptions={
            "POST /upload/chunk": "one file is many calls; its bytes and the quota bound them",
            "POST /auth/refresh": "many people sign in from one address; the limit is one of its own",
        },
    ),
    Rule(
        name="envelope",
        asks="every answer is in the standard envelope, every refusal in that of errors",
        stated="Endpoint Design Principles 5; Governance Checklist: standard response formats, error handling "
        "standardized",
        check=_envelopes,
    ),
    Rule(
        name="input",
        asks="what is sent has a type, by which it is validated",
        stated="Governance Rules, Security Requirements 1: input validation on all POST/PUT endpoints",
        check=_input,
        exceptions={
            "POST /admin/action": "the payload is validated by the type of the action that is named beside it",
        },
    ),
    Rule(
        name="documentation",
        asks="a summary, and a description in OpenAPI with limits, refusals and an example, below every prefix",
        stated="Governance Rules, Documentation Standards 1 to 4; Governance Checklist: OpenAPI documentation",
        check=_documentation,
    ),
    Rule(
        name="administration",
        asks="the console reads through the snapshot and acts through one endpoint; what is done is on record",
        stated="Governance Rules 3, 4 and 5; Governance Checklist: admin endpoints consolidated, legacy ones disabled",
        check=_administration,
        exceptions={
            "GET /agents/logs/{agent_id}": "the specification lists it with the agents; it is guarded like the console",
            "GET /agents/config": "the specification lists it with the agents; it is guarded like the console",
            "POST /upload/chunk": "what a file is for was put on record when its upload began",
            "POST /auth/refresh": "sessions are on record by themselves, where they are renewed",
        },
    ),
)
