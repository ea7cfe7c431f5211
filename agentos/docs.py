"""The generated pages and golden files: what they are called, and how each is written from the code.

Every page comes out the same wherever it is made. What a person wrote around a generated part of a page stays.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NotRequired, get_origin, get_type_hints

import msgspec

from agentos import VERSION
from agentos.settings import Settings
from db import tables
from db.models.identity import Role
from db.tunables import TUNABLES
from guards.allowances import Class
from guards.errors import Refusal, family
from guards.permissions import Permission, granted
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action, View
from schema import golden
from schema.rest import openapi, openapi30, promises, terms, tracking
from schema.rest.advice import ADVICE
from schema.rest.endpoints import ENDPOINTS
from schema.rest.operations import stored
from schema.rest.rows import Endpoint, Place
from schema.rest.serving import PREFIXES
from schema.root import schema

ROOT: Final = Path(__file__).parent.parent
BEGIN: Final = "<!-- generated: {name} -->"
END: Final = "<!-- end of generated -->"

WRITTEN_BY: Final = "<!-- Written by `python -m agentos docs`; change what it is made from, not this page. -->\n"

SDL: Final = "docs/schema.graphql"
REST: Final = "docs/openapi.json"
OLDER_REST: Final = "docs/openapi-3.0.json"
MATRIX: Final = "docs/permissions.txt"
TABLE: Final = tracking.FILE
ACTION_HEADS: Final = ("action", "mutation", "roles", "limit", "idempotency key", "depends on", "", "what it does")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One file, or a part of one."""

    path: str
    """From the root of the checkout."""

    made: Callable[[], str]
    part: str | None = None
    """The name of the generated part of a page that is otherwise written by hand."""

    remarks: Callable[[str], list[str]] | None = None
    """What people wrote into it line by line, which is put after what is generated."""

    def __str__(self) -> str:
        return self.path if self.part is None else f"{self.path} ({self.part})"

    def present(self, root: Path) -> str | None:
        """The file as it is, or None."""
        file = root / self.path
        return file.read_text(encoding="utf-8") if file.exists() else None

    def wanted(self, root: Path) -> str:
        """The file as it should be."""
        text = self.made().rstrip() + "\n"
        if self.remarks is not None and (said := self.remarks(self.present(root) or "")):
            text += "\n" + "\n".join(said) + "\n"
        if self.part is None:
            return text
        begin = BEGIN.format(name=self.part)
        around = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
        found = self.present(root) or f"{begin}\n{END}\n"
        return around.sub(lambda _: f"{begin}\n\n{text}\n{END}", found)


def every_page(command_line: str) -> tuple[Page, ...]:
    """All generated pages; `command_line` is how the command line describes itself."""
    return (
        Page(path=SDL, made=schema.as_str),
        Page(path="docs/settings.md", made=settings),
        Page(path="docs/commands.md", made=partial(commands, command_line)),
        Page(path="docs/tables.md", made=all_tables),
        Page(path="docs/permissions.md", made=permissions),
        Page(path=MATRIX, made=golden.matrix, remarks=golden.remarks),
        Page(path="docs/actions.md", made=actions),
        Page(path="docs/endpoints.md", made=endpoints),
        Page(path=TABLE, made=_terms, remarks=golden.remarks),
        Page(path=REST, made=partial(rest, older=False)),
        Page(path=OLDER_REST, made=partial(rest, older=True)),
        Page(path="docs/guide.md", made=refusals, part="refusals"),
    )


def stale(pages: Iterable[Page], root: Path = ROOT) -> list[Page]:
    """Those that are not as the code says."""
    return [page for page in pages if page.present(root) != page.wanted(root)]


def loosened(root: Path = ROOT) -> list[str]:
    """What is allowed now that was not when the matrix was written, and that nothing in it gives a reason for."""
    file = root / MATRIX
    return golden.looser(file.read_text(encoding="utf-8"), golden.matrix()) if file.exists() else []


def unexplained(root: Path = ROOT) -> list[str]:
    """What was taken away or loosened in the table of endpoints, and nothing in its file gives a reason for."""
    file = root / TABLE
    return tracking.unexplained(file.read_text(encoding="utf-8"), _terms()) if file.exists() else []


def broken(root: Path = ROOT) -> list[str]:
    """What clients of the schema and of REST, as they were last written, can no longer do."""
    sdl, described = root / SDL, root / REST
    found = golden.breaking(sdl.read_text(encoding="utf-8"), schema.as_str()) if sdl.exists() else []
    if described.exists():
        found += promises.broken(msgspec.json.decode(described.read_bytes()), openapi.described(schema, VERSION))
    return found


def write(page: Page, root: Path = ROOT) -> None:
    """Bring a page up to the code."""
    text = page.wanted(root)
    (root / page.path).parent.mkdir(parents=True, exist_ok=True)
    (root / page.path).write_text(text, encoding="utf-8")


def settings() -> str:
    """Every setting, with its default."""
    rows = [
        (f"`AGENTOS_{name.upper()}`", _default(field.get_default(call_default_factory=True)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    tunable = [
        (
            f"`{each.name}`",
            f"`{msgspec.json.encode(each.default).decode()}`",
            each.meaning,
            "at once" if each.reloads else "after a restart",
            "the house" if each.of_the_house else "a tenant",
        )
        for each in TUNABLES
    ]
    return (
        f"# Settings\n\n{WRITTEN_BY}\nEvery setting is an environment variable, or a line of a file `.env` in the "
        f"folder where AgentOS is started.\n\n{_table(('setting', 'default', 'what it says'), rows)}\n\n"
        "# Configuration\n\nWhat is set while everything runs, with `configSave(input: {values: {…}})`: for one "
        "tenant, or, where the last column says so, for the house by its own tenant. What was never set has its "
        "default.\n\n"
        f"{_table(('name', 'default', 'what it says', 'in force', 'for'), tunable)}"
    )


def commands(described: str) -> str:
    """Every command with its options, as the command line describes itself."""
    # What stands before the first command is a table of contents; and cyclopts shows how it was started in each usage.
    _, begin, rest = described.partition("\n## python")
    rest = re.sub(r"^(python -m agentos.*?) -m \w+", r"\1", rest, flags=re.MULTILINE)
    return (
        f"# Commands\n\n{WRITTEN_BY}\nExit codes: 0 done, 1 failed, 2 wrong usage. What went wrong is said in two "
        f"lines on the error stream; `--json` prints the answer for machines.\n{begin}{rest}"
    )


def all_tables() -> str:
    """Every table with its columns."""
    parts = [f"# Tables\n\n{WRITTEN_BY}\nRows of a walled table belong to one tenant and are seen by no other."]
    for table in tables.everything():
        rows = [
            (
                f"`{column.name}`" + (" (key)" if column.key else ""),
                column.type,
                "may be null" if column.nullable else "",
                f"`{column.refers_to}`" if column.refers_to else "",
            )
            for column in table.columns
        ]
        wall = ", walled" if table.walled else ""
        parts.append(f"## {table.name}{wall}\n\n{_table(('column', 'type', '', 'refers to'), rows)}")
    return "\n\n".join(parts)


def permissions() -> str:
    """Which role may do what."""
    rows = [
        (f"`{permission}`", *("yes" if permission in granted(role) else "" for role in Role))
        for permission in Permission
    ]
    return f"# Permissions\n\n{WRITTEN_BY}\n{_table(('permission', *map(str, Role)), rows)}"


def actions() -> str:
    """Every action, by where it is found in the console."""
    parts = [
        f"# Actions\n\n{WRITTEN_BY}\nEach is a mutation, a member of `adminAction(input: …)`, and a name that "
        "`POST /api/admin/action` takes. Its permission is its name. Which fields it is given and what it answers is "
        "in [the schema](schema.graphql); for whoever is signed in, `{ actionCatalogue { … } }` tells the same with "
        "what they may do and have left. In any ten seconds a third of an action's class may be used: "
        f"{_words(f'{each} {each.per_minute}/min' for each in (Class.USER, Class.ADMIN_ACTION))}."
    ]
    for view in View:
        rows = [_action(action) for action in CATALOGUE.values() if action.view is view]
        if rows:
            parts.append(f"## {view}\n\n{_table(ACTION_HEADS, rows)}")
    return "\n\n".join(parts)


def _action(action: Action[Any, Any]) -> tuple[str, ...]:
    marks = [mark for mark, holds in (("destructive", action.destructive), ("long", action.long)) if holds]
    return (
        f"`{action.name}`",
        f"`{action.field}`",
        " ".join(role for role in Role if action.permission in granted(role)),
        f"{action.per_minute}/min",
        str(action.idempotency),
        str(action.depends_on or ""),
        " ".join(marks),
        " ".join(action.doc.partition("\n\n")[0].split()),
    )


def endpoints() -> str:
    """Every REST endpoint with what it reads and answers."""
    rows = [
        (f"`{row.method}`", f"`{row.path}`", row.tag, row.summary, _sent(row), str(row.status), _answered(row))
        for row in ENDPOINTS
    ]
    prefixes = " and ".join(f"`{prefix}`" for prefix in PREFIXES)
    legacy = " ".join(f"`{prefix}`" for prefix, beside in PREFIXES.items() if beside)
    return (
        f"# REST endpoints\n\n{WRITTEN_BY}\nEach is served below {prefixes}, but `/` and `/health` at the top, and "
        "all but these two and `/auth/refresh` take an access token as "
        "`Authorization: Bearer …`. A body is JSON unless it is called a form; what stands with a `?` may be left out. "
        'The answer is `{"success": true, "data": …, "timestamp": …, "response_time_ms": …}`, with the keys '
        f"below in `data`; below {legacy} some of them stand at the top level besides. A refusal is "
        '`{"success": false, "error": …, "error_code": …, "timestamp": …}`, with a code of the '
        "[guide](guide.md#refusals). Everything else goes through GraphQL.\n\n"
        f"{_table(('method', 'path', 'tag', 'what it does', 'what it reads', 'status', 'what it answers'), rows)}"
    )


def rest(*, older: bool) -> str:
    """REST as OpenAPI describes it, as 3.1 or as 3.0."""
    document = openapi.described(schema, VERSION)
    return msgspec.json.format(
        msgspec.json.encode(openapi30.lowered(document) if older else document), indent=1
    ).decode()


def _terms() -> str:
    return tracking.written(terms.of_all(schema))


def _sent(row: Endpoint) -> str:
    if row.form is not None:
        fields = get_type_hints(row.form, include_extras=True).items()
        named = [f"{name}?" if get_origin(kind) is NotRequired else name for name, kind in fields]
        return f"form: {_words(named)}"
    needed = stored(row.operation, schema).needed if row.operation else frozenset()
    read = {
        place: [
            "|".join(source.names) + ("" if variable in needed else "?")
            for variable, source in row.variables.items()
            if source.place is place and source.names
        ]
        for place in (Place.BODY, Place.QUERY)
    }
    if row.paged:
        read[Place.QUERY] += ["page?", "per_page?"]
    return "; ".join(f"{place}: {_words(names)}" for place, names in read.items() if names)


def _answered(row: Endpoint) -> str:
    if row.operation:
        return _words(stored(row.operation, schema).keys((*row.shown, *(("edges", "node") if row.paged else ()))))
    return _words(get_type_hints(get_type_hints(row.native)["return"])) if row.native else ""


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def refusals() -> str:
    """What each refusal means, and what its reader should do."""
    rows = []
    for code, kind in sorted({kind.code: kind for kind in reversed(family())}.items()):
        if kind is not Refusal:
            meaning = (kind.__doc__ or "").partition("\n")[0]
            rows.append((f"`{code}`", meaning, ADVICE[code]))
    return _table(("code", "what it means", "what to do"), rows)


def _default(value: object) -> str:
    match value:
        case None:
            return "none"
        case tuple():
            return f"`{','.join(map(str, value))}`" if value else "none"
        case bool():
            return f"`{str(value).lower()}`"
    return f"`{value}`"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
