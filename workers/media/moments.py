"""Choosing the stretches of a video that are worth a clip, and saying why.

Every stretch that begins and ends where one may cut is given points, each for a reason a person can check. A video
shorter than two ordinary clips is cut finer, so that it still yields more than one.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from workers.media.analysis import Findings, Stretch

POINTS: Final = {"speech": 25.0, "loudness": 20.0, "motion": 20.0, "alive": 15.0, "length": 10.0, "cut": 10.0}
"""What each reason is worth at best; what cannot be measured is shared out among the rest, so 100 stays the most."""

NEAR_S: Final = 0.05
"""Closer than this to a scene cut is at it."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a score."""

    kind: str
    """One of `speech`, `loudness`, `motion`, `alive`, `length`, `cut`."""

    text: str
    """What was found, for a person."""

    points: float
    """What it adds to the score; the points of all reasons are the score."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch worth a clip."""

    start_s: float
    end_s: float
    score: float
    """0..100, higher is better."""

    reasons: list[Reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What kind of moments are asked for."""

    min_s: float
    max_s: float
    count: int
    """At most this many."""


def ranked(findings: Findings, speech: list[Stretch] | None, duration_s: float, wanted: Wanted) -> list[Moment]:
    """The best moments that do not overlap, best first; at least one of any video.

    Args:
        speech: where somebody speaks; None when that is not known.
    """
    shortest, longest = _lengths(duration_s, wanted)
    timeline = _Timeline(findings, speech, duration_s, shortest, longest)
    edges = _edges(findings, duration_s, shortest)
    found = [
        timeline.moment(start, end)
        for index, start in enumerate(edges)
        for end in edges[index + 1 :]
        if shortest - 1e-6 <= end - start <= longest + 1e-6
    ]
    found.sort(key=lambda moment: (-moment.score, moment.start_s))
    chosen: list[Moment] = []
    for moment in found:
        if all(moment.end_s <= other.start_s or moment.start_s >= other.end_s for other in chosen):
            chosen.append(moment)
        if len(chosen) == wanted.count:
            break
    return chosen or [timeline.moment(0.0, duration_s)]


def _lengths(duration_s: float, wanted: Wanted) -> tuple[float, float]:
    """How short and how long a moment of this video may be, in seconds."""
    if duration_s >= 2 * wanted.min_s:
        return wanted.min_s, min(wanted.max_s, duration_s)
    if duration_s < 2.0:
        return duration_s, duration_s
    # A quarter and a half: whichever stretch is taken first, one of its sides has room for another.
    return duration_s / 4, min(wanted.max_s, duration_s / 2)


def _edges(findings: Findings, duration_s: float, shortest: float) -> list[float]:
    """Where a moment may begin or end: scene cuts, and steps within long scenes, in silence where there is some."""
    edges = {0.0, duration_s}
    for scene in findings.scenes:
        edges.add(scene.start_s)
        steps = int((scene.end_s - scene.start_s) / shortest * 2)
        for step in range(1, steps):
            at_s = scene.start_s + (scene.end_s - scene.start_s) * step / steps
            edges.add(round(_in_silence(at_s, findings.silent), 3))
    return sorted(edge for edge in edges if 0.0 <= edge <= duration_s)


def _in_silence(at_s: float, silent: list[Stretch]) -> float:
    middles = [(part.start_s + part.end_s) / 2 for part in silent]
    near = [middle for middle in middles if abs(middle - at_s) < 1.5]
    return min(near, key=lambda middle: abs(middle - at_s)) if near else at_s


class _Timeline:
    """What happens when, so that any stretch can be judged without going through it again."""

    def __init__(
        self,
        findings: Findings,
        speech: list[Stretch] | None,
        duration_s: float,
        shortest: float,
        longest: float,
    ) -> None:
        self._duration_s = duration_s
        self._shortest, self._longest = shortest, longest
        self._cuts = np.asarray([scene.start_s for scene in findings.scenes] + [duration_s])
        self._dead = [*findings.black, *findings.silent]
        self._speech = speech
        self._loud = findings.loudness.per_second if findings.loudness is not None else None
        self._moving = _running(_spread(np.asarray(findings.motion.level)))
        self._loudness = _running(_spread(np.asarray(self._loud))) if self._loud is not None else None
        known = {"motion", "alive", "length", "cut"}
        known |= {"speech"} if speech is not None else set()
        known |= {"loudness"} if self._loud is not None else set()
        self._worth = {kind: 100 * POINTS[kind] / sum(POINTS[other] for other in known) for kind in known}

    def moment(self, start: float, end: float) -> Moment:
        shares = self._shares(start, end)
        reasons = [
            Reason(kind=kind, text=text, points=round(self._worth[kind] * share, 1))
            for kind, (share, text) in shares.items()
        ]
        reasons.sort(key=lambda reason: -reason.points)
        score = round(sum(reason.points for reason in reasons), 1)
        return Moment(start_s=round(start, 3), end_s=round(end, 3), score=min(score, 100.0), reasons=reasons)

    def _shares(self, start: float, end: float) -> dict[str, tuple[float, str]]:
        """How far each reason holds, 0.0..1.0, and what was found."""
        length = end - start
        shares: dict[str, tuple[float, str]] = {}
        if self._speech is not None:
            spoken = _overlap(self._speech, start, end) / length
            shares["speech"] = (min(1.0, spoken / 0.8), f"somebody speaks in {spoken:.0%} of it")
        if self._loudness is not None:
            loud = _mean(self._loudness, start, end)
            shares["loudness"] = (loud, f"{_compared(loud)} loud for this video")
        moving = _mean(self._moving, start, end)
        shares["motion"] = (moving, f"{_compared(moving)} lively for this video")
        dead = min(1.0, _overlap(self._dead, start, end) / length)
        shares["alive"] = (1 - dead, f"black or silent in {dead:.0%} of it" if dead else "neither black nor silent")
        # Half of the way from the shortest to the longest is room enough to tell something.
        room = max(self._longest - self._shortest, 1e-9) / 2
        shares["length"] = (min(1.0, (length - self._shortest) / room), f"lasts {length:.1f} s")
        clean = [bool(np.abs(self._cuts - edge).min() < NEAR_S) for edge in (start, end)]
        shares["cut"] = (sum(clean) / 2, _CUTS[clean[0], clean[1]])
        return shares


_CUTS: Final = {
    (True, True): "begins and ends at a cut",
    (True, False): "begins at a cut",
    (False, True): "ends at a cut",
    (False, False): "begins and ends within a scene",
}


def _spread(levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Levels as 0.0..1.0 between the quiet and the strong parts of this video; all 0.5 when they are alike."""
    low, high = np.percentile(levels, 10), np.percentile(levels, 90)
    if high - low < 1e-6:
        return np.full(len(levels), 0.5)
    spread: np.ndarray[Any, Any] = np.clip((levels - low) / (high - low), 0.0, 1.0)
    return spread


def _running(levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate(([0.0], np.cumsum(levels)))


def _mean(running: np.ndarray[Any, Any], start: float, end: float) -> float:
    seconds = np.arange(len(running))
    upto = np.interp((start, end), seconds, running)
    return float((upto[1] - upto[0]) / (end - start))


def _overlap(parts: list[Stretch], start: float, end: float) -> float:
    """Seconds of a stretch that lie in any of the parts."""
    inside = sorted(
        (max(part.start_s, start), min(part.end_s, end)) for part in parts if part.end_s > start and part.start_s < end
    )
    covered, reached = 0.0, start
    for begin, until in inside:
        if until > reached:
            covered += until - max(begin, reached)
            reached = until
    return covered


def _compared(share: float) -> str:
    return "very" if share > 0.7 else "rather" if share > 0.4 else "little"
