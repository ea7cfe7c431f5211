"""Descriptions for the SDL, taken from the docstrings that are there anyway, so that nothing is explained twice."""

import ast
import inspect
import sys
from functools import cache
from typing import Final

_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")


def summary(thing: object) -> str | None:
    """The part of a docstring that readers outside need: everything before its arguments and errors."""
    text = inspect.getdoc(thing)
    return cut(text) if text else None


def cut(text: str) -> str:
    """A docstring without what only the house needs to know."""
    for heading in ("\n\nArgs:", "\n\nReturns:", "\n\nRaises:"):
        text = text.partition(heading)[0]
    return text.strip()


@cache
def of_fields(kind: type) -> dict[str, str]:
    """The sentences written under the fields of a class and of those it is made from, by field."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if parent.__module__.startswith(("builtins", "msgspec", "typing", "enum", "abc")):
            continue
        found |= _written_under(parent)
    return found


def _written_under(kind: type) -> dict[str, str]:
    tree = _classes(kind.__module__)[kind.__qualname__]
    found: dict[str, str] = {}
    for member, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        match member, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
            case ast.FunctionDef(name=name), _ if documented := ast.get_docstring(member):
                found[name] = documented
    return found


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module by their qualified names; `inspect` would parse the whole module for each of them."""
    found: dict[str, ast.ClassDef] = {}
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(inspect.getsource(sys.modules[module])))]
    while waiting:
        place, node = waiting.pop()
        # Statements alone: most of a module are expressions, and no class is written in one of them.
        for inner in (each for block in _BLOCKS for each in getattr(node, block, ())):
            name = place
            if isinstance(inner, ast.ClassDef):
                name = f"{place}{inner.name}."
                found[f"{place}{inner.name}"] = inner
            elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{place}{inner.name}.<locals>."
            waiting.append((name, inner))
    return found
