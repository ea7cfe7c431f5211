"""Whose address a call comes from: the peer's, or what trusted proxies say of it.

`X-Forwarded-For` is believed only from a peer in `TRUSTED_PROXIES`, and read from the right: the first address that is
not a trusted proxy is the client. What a client wrote further left counts for nothing.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from guards import networks
from guards.networks import Network


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address.

    Args:
        peer: who is at the other end of the connection; empty for a Unix socket.
        forwarded: the values of all `X-Forwarded-For` headers, in their order.
    """
    address = networks.parsed(peer)
    if address is None:
        return ""
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    while hops and networks.allowed(str(address), trusted):
        nearer = networks.parsed(hops.pop())
        if nearer is None:
            # A proxy of ours wrote no address: whatever stands left of it comes from somebody else.
            break
        address = nearer
    return str(address)


class Addresses:
    """Puts the client's address where the peer's was, in `request.client.host`."""

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer, port = scope.get("client") or ("", 0)
            forwarded = Headers(scope=scope).getlist("x-forwarded-for")
            scope["client"] = (client_address(peer, forwarded, self._trusted), port)
        await self._app(scope, receive, send)
