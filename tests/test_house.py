"""The house itself: what no linter sees, and what a reader may rely on without looking.

Everything is read from the files, nothing is started. An exception has a line in one of the tables below, with its
reason; a line that excuses nothing any more fails as well, so the tables stay short.
"""

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TypeAlias

import pytest
from packaging.version import Version

from agentos.settings import Settings

ROOT = Path(__file__).parent.parent
FOLDERS = ("agentos", "schema", "resolvers", "workers", "dataloaders", "guards", "db")
LOCKS = ("bootstrap", "runtime", "media", "node", "dev")

FLOORS = {
    "pyjwt": ("2.15.0", "CVE-2026-32597, CVE-2026-48523, CVE-2026-48526 and the key confusion fixed in 2.14 and 2.15"),
    "starlette": ("1.3.1", "CVE-2025-62727, CVE-2026-48710, PYSEC-2026-248, CVE-2026-54283"),
    "strawberry-graphql": ("0.315.4", "CVE-2026-35523, CVE-2026-35526, CVE-2026-45739, GHSA-fr49-mhgj-crfc"),
    "python-multipart": ("0.0.30", "quadratic parsing of form parts"),
    "arq": ("0.28", "an unfloored arq resolves to 0.25 next to a newer redis, without a word"),
    "redis": ("5.3", "the newest that arq 0.28 works with"),
}
"""The oldest version each may have, and what an older one brings back."""

READS_ENVIRONMENT = {
    "agentos/settings.py": "the one place where the environment becomes settings",
}

IMPORTS_LATE = {
    "agentos/cli/*.py": "a command loads what it needs and no more: --help must not wait for SQLAlchemy",
    "dataloaders/batches.py": "workers and commands start without GraphQL, which they have no use for",
    "db/migrations/runner.py": "every process asks which revision it needs, and hardly one migrates",
}

CATCHES_ALL = {
    "agentos/transports/answers.py": "the HTTP edge: what nobody foresaw becomes one 500 with a trace id, logged once",
    "agentos/transports/sockets.py": "an operation that fails for reasons of ours must not end its socket",
    "schema/telling.py": "what a stream raises before it tells anything is its answer",
    "schema/watching.py": "what fails for several is raised in each who waits for it",
    "workers/turn.py": "a fault of ours in one job must not take the worker's other jobs along",
    "resolvers/relay.py": "the relay of events: it outlives whatever the stores answer",
    "resolvers/live.py": "the reader behind all subscriptions of a process: it outlives whatever PostgreSQL answers",
    "resolvers/operations.py": "what fails after its call was answered is put on record; nobody else would be told",
    "workers/rounds.py": "a mistake of ours in one manager must not end the others, nor the worker they are in",
    "workers/compute.py": "the killable process: what fails in it is sent home, or its caller would wait for ever",
}
"""Edges that turn the unforeseen into an answer; everywhere else it travels on."""

LONGER = {
    "db/migrations/versions/*": "history: written once, read in order, never split afterwards",
}

Modules: TypeAlias = Mapping[str, ast.Module]


@pytest.fixture(scope="module")
def modules() -> Modules:
    """Every module of ours, by its path from the root."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in paths}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def unexcused(found: list[str], excuses: Mapping[str, str]) -> list[str]:
    """The found `path:line` that no excuse is for, then the excuses that nothing was found for."""
    used = {excuse for place in found for excuse in excuses if Path(place.partition(":")[0]).match(excuse)}
    bare = [place for place in found if not any(Path(place.partition(":")[0]).match(excuse) for excuse in excuses)]
    idle = [f"{excuse} needs no excuse" for excuse in excuses if excuse not in used and list(ROOT.glob(excuse))]
    return bare + idle


def locked(name: str) -> dict[str, list[str]]:
    """Versions by distribution; more than one where the lock chooses by platform or Python."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines():
        if pinned := re.match(r"([a-z0-9.-]+)==([^ ;\\]+)", line):
            versions.setdefault(pinned[1], []).append(pinned[2])
    return versions


def names_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv"):
            return True
        case ast.ImportFrom(module="pydantic_settings"):
            return True
        case ast.ImportFrom(module="os", names=names):
            return any(alias.name in {"environ", "environb", "getenv", "putenv"} for alias in names)
    return False


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether it catches Exception or more, and does not end by raising the same again."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def holds_nothing(tree: ast.Module) -> bool:
    """Whether the module only says what its folder is for, or hands on names of its neighbours."""
    return all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign) for node in tree.body)


def test_the_top_level_is_the_owners_layout() -> None:
    expected = ("schema", "resolvers", "dataloaders", "workers", "db", "tests", "pyproject.toml", "Dockerfile")

    assert [] == [name for name in expected if not (ROOT / name).exists()]


def test_no_installed_package_takes_one_of_our_names() -> None:
    """Folders are import names here; a package of the same name would be imported instead, or beside, of ours."""
    taken = packages_distributions()

    assert {} == {name: taken[name] for name in (*FOLDERS, "tests") if name in taken}


def test_every_folder_is_under_the_import_contracts_and_the_type_checker() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert set(FOLDERS) == set(contracts["importlinter"]["root_packages"].split())
    assert {*FOLDERS, "tests"} == set(project["tool"]["mypy"]["files"])
    assert set(FOLDERS) == set(project["tool"]["coverage"]["run"]["source"])


def test_every_module_has_a_test_of_its_name_or_a_line_in_the_readme(modules: Modules) -> None:
    readme = (ROOT / "tests/README.md").read_text()
    elsewhere = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", readme, flags=re.MULTILINE))

    untested = []
    for path, tree in modules.items():
        own = ROOT / "tests" / Path(path).with_name(f"test_{Path(path).name}")
        if own.exists() or (Path(path).name == "__init__.py" and holds_nothing(tree)):
            continue
        if not any(path == place or (place.endswith("/") and path.startswith(place)) for place in elsewhere):
            untested.append(path)

    assert [] == untested
    assert [] == [place for pair in elsewhere.items() for place in pair if not (ROOT / place).exists()]


def test_no_module_is_longer_than_a_room(modules: Modules) -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules}

    assert [] == unexcused([f"{path}:{length}" for path, length in lengths.items() if length > 500], LONGER)


def test_the_environment_is_read_in_one_place(modules: Modules) -> None:
    found = [
        f"{path}:{getattr(node, 'lineno', 0)}"
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if names_environment(node)
    ]

    assert [] == unexcused(found, READS_ENVIRONMENT)


def test_nothing_is_imported_inside_a_function(modules: Modules) -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules.items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert [] == unexcused(found, IMPORTS_LATE)


def test_only_the_named_edges_catch_everything(modules: Modules) -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and swallows_everything(node)
    ]

    assert [] == unexcused(found, CATCHES_ALL)


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_and_what_is_locked_is_past_its_floor(name: str) -> None:
    """A scanner that skipped a package is as silent as one that found nothing; these numbers are not."""
    floor, reason = FLOORS[name]

    assert Version(floor) <= Version(version(name)), reason
    assert [] == [pinned for pinned in locked("runtime")[name] if Version(pinned) < Version(floor)], reason


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_a_hash_for_everything_and_names_no_place(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", text.strip())

    assert [] == [entry.partition("==")[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not re.search(r"://|@ |^-", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_answers_all_that_is_asked_for(name: str) -> None:
    asked = (ROOT / f"requirements/{name}.in").read_text()
    names = re.findall(r"^[a-z][a-z0-9-]*", asked, flags=re.MULTILINE)

    assert set() == set(names) - locked(name).keys()


def test_the_locks_agree() -> None:
    """They are laid into one environment; two versions of one thing would make the later one win."""
    runtime = locked("runtime")
    others = [locked(name) for name in ("media", "node", "dev")]

    assert {} == {name: pins for lock in others for name, pins in lock.items() if runtime.get(name, pins) != pins}


def test_what_brings_gpl_codecs_is_optional_and_named() -> None:
    notice = (ROOT / "NOTICE").read_text()

    assert set() == {"av", "opencv-python-headless"} & locked("runtime").keys()
    assert {"PyAV", "OpenCV", "x264", "x265"} <= set(re.findall(r"\w+", notice))


def test_make_has_few_targets_and_each_says_what_it_is_for() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):.*", makefile, flags=re.MULTILINE)

    assert len(targets) <= 12
    assert targets == re.findall(r"^([a-z]+):[^#]*## \w", makefile, flags=re.MULTILINE)


def test_the_image_carries_every_folder() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    let_in = (ROOT / ".dockerignore").read_text().splitlines()

    assert [] == [name for name in FOLDERS if f"COPY {name} {name}\n" not in dockerfile or f"!{name}" not in let_in]


def test_everything_shipped_bears_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    shipped = "".join(path.read_text() for path in (ROOT / "Dockerfile", *(ROOT / "deploy").rglob("*.yaml")))

    assert {project} == set(re.findall(r"(?:ARG VERSION=|image: agentos:|newTag: )(\S+)", shipped))


def test_what_the_manifests_set_is_a_setting() -> None:
    """A variable that nobody reads is a limit that nobody keeps."""
    shipped = "".join(path.read_text() for path in (ROOT / "Dockerfile", *(ROOT / "deploy").rglob("*.yaml")))
    named = set(re.findall(r"AGENTOS_([A-Z_]+)", shipped))

    assert set() == named - {field.upper() for field in Settings.model_fields}
