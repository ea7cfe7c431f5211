"""What has changed in the table of endpoints since it was last written down: one line for each endpoint, in a file.

What was taken away, what more people may use or more often, and what answers with another status is not taken for
granted: it fails until a line of the file says why. Everything else is told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schema import golden
from schema.golden import Line
from schema.rest.governance import name_of
from schema.rest.terms import LEVELS, Terms

FILE: Final = "docs/endpoints.txt"

HEAD: Final = """\
# Every REST endpoint and the terms on which it is served. Written by `python -m agentos docs`.
#
# access: for everybody (public), for who is signed in (user), for the console (admin-read, admin-action).
# limit: in any minute, by the limit that counts it. roles: who may; where an action is chosen, whoever may do that.
#
# What is taken away, looser than in this file, or answers with another status is not written into it before a line
# below says why:
#   ! GET /jobs/{job_id}/retry served=no: nobody has called it for half a year
#   ! POST /jobs/create limit=job.create:100,user:100: people asked for more
"""
_GONE: Final = "served=no"


class Kind(StrEnum):
    """What may happen to an endpoint."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different."""

    kind: Kind
    endpoint: str
    what: str
    """As it is now, in the words of the file; empty for one that was added."""

    was: str
    needs_reason: bool
    reason: str | None
    """Why, as the file says."""

    @property
    def accepted(self) -> bool:
        """Whether it may stay so."""
        return not self.needs_reason or self.reason is not None

    def __str__(self) -> str:
        told = f"{self.kind} {self.endpoint}"
        if self.kind is Kind.CHANGED:
            told += f": {self.what}, was {self.was}"
        return told


def written(table: Iterable[Terms]) -> str:
    """The file, without what people wrote into it."""
    lines = [f"{name_of(each.row)} " + " ".join(f"{key}={value}" for key, value in _line(each)) for each in table]
    return HEAD + "\n" + "\n".join(golden.aligned(lines)) + "\n"


def changes(before: str, after: str) -> list[Change]:
    """What is different between the file as it was and as it would be."""
    known, now = golden.parsed(before), golden.parsed(after)
    reasons = dict(_reasons(before))
    found = [Change(Kind.ADDED, name, "", "", False, None) for name in now if name not in known]
    for name, line in known.items():
        if name not in now:
            found.append(Change(Kind.REMOVED, name, _GONE, "", True, reasons.get(f"{name} {_GONE}")))
        else:
            found += _changed(name, line, now[name], reasons)
    return found


def unexplained(before: str, after: str) -> list[str]:
    """What may not stay so as long as the file does not say why; each as the line that would say it."""
    return [f"{change.endpoint} {change.what}" for change in changes(before, after) if not change.accepted]


def _line(each: Terms) -> Sequence[tuple[str, str]]:
    return (
        ("tag", str(each.row.tag)),
        ("access", each.level.value),
        ("limit", ",".join(f"{name}:{limit}" for name, limit in each.limits)),
        ("roles", ",".join(each.roles)),
        ("status", str(each.row.status)),
        ("deprecated", "yes" if each.row.deprecated else "no"),
    )


def _changed(name: str, before: Line, now: Line, reasons: dict[str, str]) -> Iterable[Change]:
    for key in dict.fromkeys([*before, *now]):
        was, becomes = before.get(key, "-"), now.get(key, "-")
        if was != becomes:
            what = f"{key}={becomes}"
            needs = _is_looser(key, was, becomes) or key == "status"
            yield Change(Kind.CHANGED, name, what, f"{key}={was}", needs, reasons.get(f"{name} {what}"))


def _is_looser(key: str, before: str, now: str) -> bool:
    if key == "limit":
        return golden.higher(before, now)
    if key == "roles":
        return not set(now.split(",")) <= set(before.split(","))
    if key == "access":
        ranks = [level.value for level in LEVELS]
        return ranks.index(now) < ranks.index(before)
    return False


def _reasons(text: str) -> Iterable[tuple[str, str]]:
    for remark in golden.remarks(text):
        what, _, why = remark.removeprefix("! ").partition(": ")
        yield what, why
