"""The description of REST, made once for all tests that read it; none of them changes it."""

from typing import Any, Final

from schema.rest import openapi
from schema.root import schema

DOCUMENT: Final[dict[str, Any]] = openapi.described(schema, "0")
