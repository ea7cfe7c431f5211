"""Choosing the stretches of a video that are worth a clip, and saying why.

Every stretch that begins and ends where one may cut is given points, each for a reason a person can check. A video
shorter than two ordinary clips is cut finer, so that it still yields more than one.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from workers.media.analysis import Findings, Stretch

POINTS: Final = {"speech": 25.0, "loudness": 20.0, "motion": 20.0, "alive": 15.0, "length": 10.0, "cut": 10.0}
"""What each reason is worth at best; what cannot be measured is shared out among the rest, so 100 stays the most."""

MUCH_SPEECH: Final = 0.8
"""Share of a moment in speech that counts in full; people breathe."""

NEAR_S: Final = 0.05
"""Closer than this to a scene cut is at it."""

Covering = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Times, and how many seconds some parts of a video cover up to each; even in between."""


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
    edges = _edges(findings, duration_s, max(shortest / 2, longest / 8))
    spans = _spans(edges, shortest, longest, duration_s)
    scored = sorted((-timeline.score(*span), span) for span in spans)
    chosen: list[tuple[float, float]] = []
    for _, (start, end) in scored:
        if all(end <= other_start or start >= other_end for other_start, other_end in chosen):
            chosen.append((start, end))
        if len(chosen) == wanted.count:
            break
    return [timeline.moment(*span) for span in chosen or [(0.0, duration_s)]]


def _lengths(duration_s: float, wanted: Wanted) -> tuple[float, float]:
    """How short and how long a moment of this video may be, in seconds."""
    if duration_s >= 2 * wanted.min_s:
        return wanted.min_s, min(wanted.max_s, duration_s)
    if duration_s < 2.0:
        return duration_s, duration_s
    # A quarter and a half: whichever stretch is taken first, one of its sides has room for another.
    return duration_s / 4, min(wanted.max_s, duration_s / 2)


def _edges(findings: Findings, duration_s: float, step_s: float) -> list[float]:
    """Where a moment may begin or end: scene cuts, and steps within long scenes, in silence where there is some."""
    edges = {0.0, duration_s}
    for scene in findings.scenes:
        edges.add(scene.start_s)
        steps = int((scene.end_s - scene.start_s) / step_s)
        for step in range(1, steps):
            at_s = scene.start_s + (scene.end_s - scene.start_s) * step / steps
            edges.add(round(_in_silence(at_s, findings.silent), 3))
    return sorted(edge for edge in edges if 0.0 <= edge <= duration_s)


def _spans(edges: list[float], shortest: float, longest: float, duration_s: float) -> set[tuple[float, float]]:
    """The stretches to be judged: from edge to edge, and the shortest from every edge, in case no two edges fit."""
    spans: set[tuple[float, float]] = set()
    for start in edges:
        first = bisect_left(edges, start + shortest - 1e-6)
        last = bisect_right(edges, start + longest + 1e-6)
        spans |= {(start, end) for end in edges[first:last]}
        if start + shortest <= duration_s:
            spans.add((start, start + shortest))
    return spans


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
        self._dead = _covering([*findings.black, *findings.silent])
        self._speech = _covering(speech) if speech is not None else None
        self._loud = findings.loudness.per_second if findings.loudness is not None else None
        self._moving = _running(_spread(np.asarray(findings.motion.level)))
        self._loudness = _running(_spread(np.asarray(self._loud))) if self._loud is not None else None
        known = {"motion", "alive", "length", "cut"}
        known |= {"speech"} if speech is not None else set()
        known |= {"loudness"} if self._loud is not None else set()
        self._worth = {kind: 100 * POINTS[kind] / sum(POINTS[other] for other in known) for kind in known}

    def score(self, start: float, end: float) -> float:
        """The points of a stretch, 0..100."""
        return min(100.0, round(sum(self._points(start, end).values()), 1))

    def moment(self, start: float, end: float) -> Moment:
        """A stretch with its reasons, the weightiest first."""
        points = self._points(start, end)
        texts = self._texts(start, end)
        reasons = [Reason(kind=kind, text=texts[kind], points=worth) for kind, worth in points.items()]
        reasons.sort(key=lambda reason: -reason.points)
        return Moment(start_s=round(start, 3), end_s=round(end, 3), score=self.score(start, end), reasons=reasons)

    def _points(self, start: float, end: float) -> dict[str, float]:
        return {kind: round(self._worth[kind] * share, 1) for kind, share in self._shares(start, end).items()}

    def _shares(self, start: float, end: float) -> dict[str, float]:
        """How far each reason holds, 0.0..1.0."""
        # Half of the way from the shortest to the longest is room enough to tell something.
        room = max(self._longest - self._shortest, 1e-9) / 2
        shares = {
            "motion": _mean(self._moving, start, end),
            "alive": 1 - _share(self._dead, start, end),
            "length": min(1.0, max(0.0, end - start - self._shortest) / room),
            "cut": sum(self._at_cuts(start, end)) / 2,
        }
        if self._speech is not None:
            shares["speech"] = min(1.0, _share(self._speech, start, end) / MUCH_SPEECH)
        if self._loudness is not None:
            shares["loudness"] = _mean(self._loudness, start, end)
        return shares

    def _texts(self, start: float, end: float) -> dict[str, str]:
        """What was found, for each reason."""
        dead = _share(self._dead, start, end)
        texts = {
            "motion": f"{_compared(_mean(self._moving, start, end))} lively for this video",
            "alive": f"black or silent in {dead:.0%} of it" if dead else "neither black nor silent",
            "length": f"lasts {end - start:.1f} s",
            "cut": _CUTS[self._at_cuts(start, end)],
        }
        if self._speech is not None:
            texts["speech"] = f"somebody speaks in {_share(self._speech, start, end):.0%} of it"
        if self._loudness is not None:
            texts["loudness"] = f"{_compared(_mean(self._loudness, start, end))} loud for this video"
        return texts

    def _at_cuts(self, start: float, end: float) -> tuple[bool, bool]:
        """Whether a stretch begins and ends at a cut."""
        begins, ends = (bool(np.abs(self._cuts - edge).min() < NEAR_S) for edge in (start, end))
        return begins, ends


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


def _covering(parts: list[Stretch]) -> Covering:
    times, covered = [0.0], [0.0]
    for part in sorted(parts, key=lambda part: part.start_s):
        begin = max(part.start_s, times[-1])
        if part.end_s > begin:
            times += [begin, part.end_s]
            covered += [covered[-1], covered[-1] + part.end_s - begin]
    return np.asarray(times), np.asarray(covered)


def _share(covering: Covering, start: float, end: float) -> float:
    """The part of a stretch that is covered, 0.0..1.0."""
    before, after = np.interp((start, end), *covering)
    return min(1.0, float(after - before) / (end - start))


def _compared(share: float) -> str:
    return "very" if share > 0.7 else "rather" if share > 0.4 else "little"
