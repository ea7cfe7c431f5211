"""Moments are ranked by reasons that add up, do not overlap and begin where one may cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.media import moments
from workers.media.analysis import Findings, Loudness, Motion, Stretch
from workers.media.moments import Moment, Wanted


def findings(cuts: list[float], *, loud: tuple[int, int] | None = None, black: list[Stretch] | None = None) -> Findings:
    """A video with cuts at the given times (its ends among them), loud and lively between two seconds."""
    seconds = max(1, -(-int(cuts[-1] * 1000) // 1000))
    high = range(*loud) if loud is not None else range(0)
    return Findings(
        scenes=[Stretch(start_s=start, end_s=end) for start, end in pairwise(cuts)],
        black=black or [],
        silent=[],
        loudness=Loudness(
            integrated_lufs=-20.0,
            range_lu=5.0,
            per_second=[-12.0 if second in high else -30.0 for second in range(seconds)],
        )
        if loud is not None
        else None,
        motion=Motion(
            level=[0.1 if second in high else 0.01 for second in range(seconds)],
            centre_x=[0.5] * seconds,
            centre_y=[0.5] * seconds,
        ),
    )


WANTED = Wanted(min_s=15.0, max_s=60.0, count=5)


def apart(found: list[Moment]) -> bool:
    spans = sorted((moment.start_s, moment.end_s) for moment in found)
    return all(before[1] <= after[0] for before, after in pairwise(spans))


def test_the_loud_and_lively_part_comes_first() -> None:
    found = moments.ranked(findings([0.0, 60.0, 90.0, 150.0, 200.0], loud=(60, 90)), None, 200.0, WANTED)

    assert (60.0, 90.0) == (found[0].start_s, found[0].end_s)
    assert "begins and ends at a cut" in [reason.text for reason in found[0].reasons]


def test_speech_speaks_for_a_moment() -> None:
    scenes = findings([0.0, 40.0, 80.0, 120.0])
    found = moments.ranked(scenes, [Stretch(start_s=40.0, end_s=80.0)], 120.0, WANTED)

    assert 40.0 <= found[0].start_s < found[0].end_s <= 80.0
    assert "somebody speaks in 100% of it" in [reason.text for reason in found[0].reasons]


def test_black_counts_against_a_moment() -> None:
    dark = [Stretch(start_s=0.0, end_s=30.0)]
    found = moments.ranked(findings([0.0, 30.0, 60.0], black=dark), None, 60.0, WANTED)

    assert 30.0 <= found[0].start_s


def test_no_more_than_asked_for() -> None:
    wanted = Wanted(min_s=15.0, max_s=60.0, count=2)

    assert 2 == len(moments.ranked(findings([0.0, 300.0]), None, 300.0, wanted))


@pytest.mark.parametrize("duration_s", [10.0, 24.0, 29.9])
def test_a_short_video_still_gives_two(duration_s: float) -> None:
    cuts = [0.0, duration_s * 0.4, duration_s * 0.7, duration_s]

    found = moments.ranked(findings(cuts), None, duration_s, WANTED)

    assert 2 <= len(found)
    assert apart(found)


def test_a_very_short_video_is_one_moment() -> None:
    found = moments.ranked(findings([0.0, 1.5]), None, 1.5, WANTED)

    assert [(0.0, 1.5)] == [(moment.start_s, moment.end_s) for moment in found]


@settings(max_examples=60)
@given(
    duration_s=st.floats(min_value=0.5, max_value=400.0),
    shares=st.lists(st.floats(min_value=0.01, max_value=0.99), max_size=12),
    shortest=st.floats(min_value=1.0, max_value=30.0),
    more=st.floats(min_value=0.0, max_value=60.0),
)
def test_whatever_the_video_moments_are_sound(
    duration_s: float, shares: list[float], shortest: float, more: float
) -> None:
    cuts = sorted({0.0, duration_s, *(share * duration_s for share in shares)})
    wanted = Wanted(min_s=shortest, max_s=shortest + more, count=5)

    found = moments.ranked(findings(cuts, loud=(0, 3)), [], duration_s, wanted)

    assert found
    assert apart(found)
    for moment in found:
        assert 0.0 <= moment.start_s < moment.end_s <= duration_s + 0.001
        assert pytest.approx(moment.score, abs=0.11) == sum(reason.points for reason in moment.reasons)
        assert 0.0 <= moment.score <= 100.0
        assert all(reason.points >= 0.0 for reason in moment.reasons)
    assert sorted((moment.score for moment in found), reverse=True) == [moment.score for moment in found]
