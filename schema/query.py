"""What can be read. Every field says who may use it, and is one call into `resolvers.queries`.

Whatever can be refused can be null, so that an operation still gets what it may see beside what it may not. The fields
of a subject stand together in `schema.queries`.
"""

from schema.fields import described
from schema.queries.actions import Actions
from schema.queries.agents import Agents
from schema.queries.audit import AuditTrail
from schema.queries.breakers import Breakers
from schema.queries.endpoints import Endpoints
from schema.queries.jobs import Jobs
from schema.queries.managers import Managers
from schema.queries.people import People
from schema.queries.system import System


@described
class Query(People, Jobs, Agents, System, Managers, AuditTrail, Actions, Breakers, Endpoints):
    """What can be read."""
