"""Commands about jobs, over the API like any other client: submit, list, show, cancel, and the demonstration."""

from collections.abc import Callable
from typing import Any, Final

commands: Final[dict[str, Callable[..., Any]]] = {}
