"""How long something took, and how old something is, as answers say it."""

import time
from datetime import datetime


def ms_since(began: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`, to the microsecond."""
    return round((time.perf_counter() - began) * 1000, 3)


def age_s(moment: datetime, now: datetime) -> float:
    """Seconds from `moment` to `now`, to a tenth; the database's clock and ours may differ, and nothing is to come."""
    return round(max(0.0, (now - moment).total_seconds()), 1)
