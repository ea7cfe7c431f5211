"""The codes with which a socket is closed, as RFC 6455, graphql-transport-ws and the guide have them."""

from enum import IntEnum


class Close(IntEnum):
    """Why a socket is over; what a client does then is told beside it in the guide."""

    INVALID = 1007
    """What a client sent as text is none."""

    POLICY = 1008
    """No socket for that client; said before there is one, it is told as status 403."""

    TOO_BIG = 1009
    """A message is longer than any may be."""

    RESTARTING = 1012
    """This process goes down: another one goes on."""

    TRY_LATER = 1013
    """What is needed cannot be had just now."""

    BAD_REQUEST = 4400
    """What a client said cannot be understood."""

    UNAUTHORIZED = 4401
    """Nobody has said who they are."""

    FORBIDDEN = 4403
    """Who they are is not to be told this, or not any more."""

    WRONG_PROTOCOL = 4406
    """A subprotocol was asked for that is not spoken here."""

    TOO_LATE = 4408
    """Nobody said in time who they are, or that they are still there."""

    EXISTS = 4409
    """Something that goes on has that id already."""

    SLOW = 4413
    """A client takes too little of what it is told."""

    TOO_MUCH = 4429
    """A client sends too much, or has too many sockets."""

    SILENT = 4499
    """A client that had answered pings answers none."""
