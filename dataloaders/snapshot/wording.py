"""Sizes and spans as a person reads them, where older clients expect text."""

from datetime import timedelta


def span(passed: timedelta) -> str:
    """Such as `3d 4h`, `2h 5m` or `10m`."""
    minutes = max(0, int(passed.total_seconds())) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m"


def size(count: int) -> str:
    """Such as `512 B` or `1.5 GB`, in steps of 1024."""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"
