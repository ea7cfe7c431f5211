"""Agents, as a tenant has configured them."""

from datetime import datetime

from strawberry.scalars import JSON

from db import agents
from db.models.work import AgentCategory, AgentPriority
from schema.fields import shows
from schema.scalars import key
from schema.types.nodes import Node


@shows(agents.Agent)
class Agent(Node):
    """An agent as it is configured."""

    id: str = key()
    implementation: str
    name: str
    category: AgentCategory
    description: str
    version: str
    enabled: bool
    auto_start: bool
    max_concurrent: int
    timeout_s: int
    retry_attempts: int
    priority: AgentPriority
    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None
    options: JSON
    revision: int
    updated_at: datetime
