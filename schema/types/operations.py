"""Operations: actions that outlive the call that asked for them."""

from datetime import datetime
from uuid import UUID

from strawberry.scalars import JSON

from db import operations
from db.models.guards import OperationState
from schema.fields import shows
from schema.scalars import key


@shows(operations.Operation)
class Operation:
    """An action on its way."""

    id: UUID = key()
    action: str
    state: OperationState
    progress: float
    message: str | None
    result: JSON | None
    error_code: str | None
    error_message: str | None
    trace_id: str | None
    created_at: datetime
    finished_at: datetime | None
