"""Conditional requests (RFC 9110): whether a client has already what it asks for."""

import re
from typing import Final

from starlette.datastructures import Headers

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def none_match(headers: Headers, tag: str) -> bool:
    """Whether the quoted tag is among those of `If-None-Match`, also where a proxy has weakened it."""
    asked = ",".join(headers.getlist("if-none-match"))
    return asked.strip() == "*" or tag in _TAG.findall(asked)
