"""How long a store is left alone that does not answer; that loops end is tried in `tests/test_endings.py`."""

import pytest

from db.tasks import pause_s


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.4), (2, 0.8), (3, 1.6), (4, 3.2), (5, 5.0), (6, 5.0), (2_000, 5.0)]
)
def test_a_pause_doubles_up_to_five_seconds_however_often_it_failed(failures: int, longest: float) -> None:
    """Two thousand failures are a store that was away for two hours."""
    assert (longest / 2, longest) == (pause_s(failures, 0.0), pause_s(failures, 1.0))
