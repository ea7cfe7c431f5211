"""Tables as CSV that is safe to open: no cell is taken for a formula, whoever wrote what is in it."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Final

Cell = str | int | float | datetime | None

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, also in full width."""


def rows(lines: Iterable[Iterable[Cell]]) -> bytes:
    """Lines of a table; an absent value is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_safe(cell) for cell in line] for line in lines)
    return out.getvalue().encode("utf-8", "replace")


def _safe(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA):
        return "'" + cell
    return cell
