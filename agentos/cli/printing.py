"""What the terminal shows: plain lines and tables for people, JSON for machines, two lines for what went wrong."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for machines.")]


class Failed(Exception):
    """A command could not do what it was asked; the message is for a person."""

    def __init__(self, message: str, advice: str = "", *, wrong_usage: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        """What to do about it; may be empty."""

        self.wrong_usage = wrong_usage
        """Whether the command itself was asked for in a way that can never work."""


@contextmanager
def _written() -> Iterator[None]:
    """Say in our own words that what takes the output, a file or a pipe, does not take any more."""
    try:
        yield
    except OSError as error:
        # What is still waiting would be tried once more at the very end, and fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            # Whoever reads has seen enough, as `head` does; every other program ends quietly then.
            raise SystemExit(0) from error
        reason = (error.strerror or str(error)).lower()
        raise Failed(f"the output cannot be written: {reason}", "Send it to a place that takes all of it.") from error


def say(line: str = "") -> None:
    """One plain line, seen at once even through a pipe."""
    with _written():
        print(line, flush=True)


def complain(message: str, advice: str = "") -> None:
    """What went wrong and what to do, on the error stream."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text("error: ", style="bold red") + Text(message))
    if advice:
        console.print(Text(advice))


def warn(message: str) -> None:
    """What somebody should know although it is done, on the error stream."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text("warning: ", style="bold yellow") + Text(message))


def show_json(value: object) -> None:
    """A value as JSON; times as ISO 8601, anything else unknown as text."""
    say(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; as wide as they need when nobody looks at a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    terminal = Console(highlight=False)
    wide = terminal if terminal.is_terminal else Console(highlight=False, width=2000)
    with _written(), wide.capture() as drawn:
        wide.print(table)
    for line in drawn.get().splitlines():
        # Cells are filled up with blanks, the last of a row as well.
        say(line.rstrip())


def show_links(links: Iterable[str]) -> None:
    """Each link on a line of its own, whole however narrow the terminal is, so that it can be copied."""
    say()
    say("links, good for an hour:")
    for link in links:
        say(f"  {link}")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return str(value)


def shown(value: Mapping[str, Any] | Sequence[Any], as_json: bool, columns: Sequence[str], rows: Iterable[Any]) -> None:
    """The same facts as JSON or as a table."""
    if as_json:
        show_json(value)
    else:
        show_table(columns, rows)
