"""What can be watched: changes, each with its cursor, so that who comes back with it misses nothing.

The fields of a subject stand together in `schema.subscriptions`.
"""

from schema.fields import described
from schema.subscriptions.agents import Agents
from schema.subscriptions.jobs import Jobs
from schema.subscriptions.operations import Operations
from schema.subscriptions.records import Records
from schema.subscriptions.snapshot import Snapshots
from schema.subscriptions.system import System
from schema.subscriptions.workers import Workers


@described
class Subscription(Jobs, Operations, System, Snapshots, Agents, Workers, Records):
    """What can be watched."""
