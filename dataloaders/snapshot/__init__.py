"""The admin snapshot: everything the console shows, collected side by side, cached in Redis, held in every process."""

from dataloaders.snapshot.about import About, OfferedAction
from dataloaders.snapshot.cache import Found, Snapshots, State
from dataloaders.snapshot.ranges import TimeRange
from dataloaders.snapshot.whole import Snapshot

__all__ = ["About", "Found", "OfferedAction", "Snapshot", "Snapshots", "State", "TimeRange"]
