"""Descriptions for the SDL, taken from the docstrings that are there anyway, so that nothing is explained twice."""

import ast
import inspect
import re
import sys
import textwrap
from functools import cache
from typing import Final

# A class ends before the next line that is no deeper, other than the bracket that ends its own head.
_CLASS: Final = re.compile(
    r"^(?P<indent> *)class (?P<name>\w+).*?(?=^(?!(?P=indent) ) *[^\s)]|\Z)", re.MULTILINE | re.DOTALL
)


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
    [tree] = ast.parse(_source(kind)).body
    assert isinstance(tree, ast.ClassDef)
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


def _source(kind: type) -> str:
    return _classes(kind.__module__)["." in kind.__qualname__, kind.__name__]


@cache
def _classes(module: str) -> dict[tuple[bool, str], str]:
    """The lines of a module's classes, by whether they are inside of something; `inspect` would parse all of it."""
    found = _CLASS.finditer(inspect.getsource(sys.modules[module]))
    return {(bool(each["indent"]), each["name"]): textwrap.dedent(each[0]) for each in found}
