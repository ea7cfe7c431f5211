"""Which site a call comes from, for those that change something although they are made as if they only looked.

A browser makes such a call for any page that names its address: in a link, as a picture, as a socket. It says from
where, and what comes from elsewhere is refused. What says nothing is no browser, or one from before they said so; what
then still protects is that a call is nobody's without a token, which no page of another site can send.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

from guards.errors import Forbidden


def require_own(request: Request) -> None:
    """Make sure that no page of another site makes a call.

    Raises:
        Forbidden: one does.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" or not from_here(request.headers):
        raise Forbidden("this changes something: pages of other sites may not ask for it")


def from_here(headers: Headers) -> bool:
    """Whether a call comes from a page of the host that is called; also when it says no origin, and is no page's."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False
