"""Figures written down: as JSON for programs, as CSV for spreadsheets, as a page of HTML that needs nothing else."""

import html
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from resolvers import sheets
from resolvers.figures import Figures, Table
from resolvers.sheets import Cell


class ReportFormat(StrEnum):
    """How figures are written down."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


MEDIA_TYPES: Final = {
    ReportFormat.JSON: "application/json",
    ReportFormat.CSV: "text/csv",
    ReportFormat.HTML: "text/html",
}

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}"
    "h1{margin-bottom:0}p{color:#57606a;margin-top:.2rem}table{border-collapse:collapse;margin:.5rem 0 2rem;width:100%}"
    "th,td{border-bottom:1px solid #d0d7de;padding:.3rem .6rem;text-align:left}td.n{text-align:right;"
    "font-variant-numeric:tabular-nums}td.none{color:#8c959f}th{background:#f6f8fa}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th{background:#161b22}p{color:#8d96a0}"
    "th,td{border-color:#30363d}}"
)


def written(title: str, figures: Figures, tables: Sequence[Table], format: ReportFormat) -> bytes:
    """Some tables of the figures, in a format."""
    if format is ReportFormat.CSV:
        return _csv(tables)
    return _html(title, figures, tables) if format is ReportFormat.HTML else _json(title, figures, tables)


def _json(title: str, figures: Figures, tables: Sequence[Table]) -> bytes:
    whole: dict[str, Any] = {
        "title": title,
        "range": figures.time_range,
        "since": figures.since,
        "until": figures.until,
        **{table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in tables},
    }
    if any(table.name == "summary" for table in tables):
        whole["summary"] = figures.summary
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _csv(tables: Sequence[Table]) -> bytes:
    """One table as it is; several one below the other, each with its name in a line above and an empty one after."""
    if len(tables) == 1:
        return sheets.rows([tables[0].columns, *tables[0].rows])
    return b"\r\n".join(sheets.rows([[table.name.value], table.columns, *table.rows]) for table in tables)


def _html(title: str, figures: Figures, tables: Sequence[Table]) -> bytes:
    when = f"{figures.since:%Y-%m-%d %H:%M} to {figures.until:%Y-%m-%d %H:%M} UTC"
    body = "".join(map(_table, tables))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{when}; a dash is what is not known.</p>{body}</html>\n"
    )
    return page.encode("utf-8", "replace")


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    nothing = "" if table.rows else f'<tr><td class="none" colspan="{len(table.columns)}">nothing</td></tr>'
    return f"<h2>{html.escape(table.name.capitalize())}</h2><table><tr>{head}</tr>{rows}{nothing}</table>"


def _cell(value: Cell) -> str:
    if value is None:
        return '<td class="none">&ndash;</td>'
    if isinstance(value, datetime):
        return f"<td>{value:%Y-%m-%d %H:%M}</td>"
    if isinstance(value, int | float):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{html.escape(value)}</td>"
