"""Commands about the REST endpoints: which there are, and whether they are as the rules and the written table say."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from agentos.cli.printing import AsJson, Failed, say, show_json, shown

if TYPE_CHECKING:
    from schema.rest.governance import Judgement, Standing
    from schema.rest.tracking import Change

COLUMNS: Final = ("method", "path", "tag", "access", "limit", "status", "deprecated", "summary")


def listed(*, as_json: AsJson = False) -> None:
    """List every REST endpoint with the terms on which it is served.

    Args:
        as_json: Print JSON.
    """
    from schema.rest import terms
    from schema.root import schema

    rows = [
        (
            *(each.row.method, each.row.path, str(each.row.tag), each.level.value, each.limit, each.row.status),
            *(each.row.deprecated, each.row.summary),
        )
        for each in terms.of_all(schema)
    ]
    values = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    shown(values, as_json, COLUMNS, [(*row[:6], "yes" if row[6] else "", row[7]) for row in rows])


def check(*, against: Path | None = None, as_json: AsJson = False) -> int:
    """Hold the endpoints against the ten rules, their budget, and the table as it was last written down.

    Args:
        against: The written table; default docs/endpoints.txt of this checkout.
        as_json: Print JSON.
    """
    from agentos import VERSION
    from agentos.docs import ROOT
    from schema.rest import governance, tracking
    from schema.root import schema

    table = governance.served(schema, VERSION)
    file = against or ROOT / tracking.FILE
    try:
        before = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Failed(
            f"what the table was cannot be read: {error.strerror or error}: {file}",
            "Run `python -m agentos docs` and commit what it writes, or name another with --against.",
        ) from error
    judgements = governance.judged(table)
    standing = governance.Standing.of(len(table.terms))
    changes = tracking.changes(before, tracking.written(table.terms))
    failed = [each for each in judgements if not each.kept]
    refused = [change for change in changes if not change.accepted]
    if as_json:
        show_json(
            {
                "ok": not failed and not refused,
                "budget": {"endpoints": len(table.terms), "most": governance.MOST, "standing": standing.value},
                "rules": [_judgement(each) for each in judgements],
                "changes": [{**asdict(change), "accepted": change.accepted} for change in changes],
            }
        )
    else:
        _tell(judgements, len(table.terms), standing, changes, file)
    return int(bool(failed or refused))


def _judgement(each: "Judgement") -> dict[str, Any]:
    rule = each.rule
    said = {"name": rule.name, "asks": rule.asks, "stated": rule.stated, "kept": each.kept}
    return {**said, "failures": each.failures, "excused": each.excused}


def _tell(
    judgements: list["Judgement"], endpoints: int, standing: "Standing", changes: list["Change"], file: Path
) -> None:
    from schema.rest.governance import MOST

    for each in judgements:
        say(f"{'ok' if each.kept else 'FAILED':<7}{each.rule.name}: {each.rule.asks}")
        say(f"       ({each.rule.stated})")
        for line in each.failures:
            say(f"       broken by {line}")
        for line in each.excused:
            say(f"       excepted {line}")
    say()
    say(f"budget: {endpoints} of {MOST} endpoints, {standing}")
    say(f"changes: {len(changes)} since {file.name} was written" if changes else f"changes: none since {file.name}")
    for change in changes:
        say(f"{'' if change.accepted else 'FAILED':<7}{change}{f' ({change.reason})' if change.reason else ''}")
        if not change.accepted:
            say(f"       write `! {change.endpoint} {change.what}: why` into {file.name}, or take it back")
    broken = sum(not each.kept for each in judgements)
    refused = sum(not change.accepted for change in changes)
    say()
    say(
        f"{broken} of {len(judgements)} rules are broken, {refused} changes have no reason"
        if broken or refused
        else "ok"
    )


endpoints = App(name="endpoints", help="The REST endpoints, their rules and their changes.")
endpoints.command(check, name="check")
endpoints.command(listed, name="list")

commands: Final[dict[str, Callable[..., Any]]] = {"endpoints": endpoints}
