"""Every table, as SQLAlchemy sees it; migrations are compared with this and nothing else."""

from db.models import audit, breakers, calls, control, guards, house, identity, managers, records, system, traffic, work
from db.models.columns import metadata

__all__ = [
    "audit",
    "breakers",
    "calls",
    "control",
    "guards",
    "house",
    "identity",
    "managers",
    "metadata",
    "records",
    "system",
    "traffic",
    "work",
]
