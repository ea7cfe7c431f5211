"""Ports to listen on: free, or taken by somebody, in words that say which."""

import errno
import socket


class PortTaken(Exception):
    """A port that was to be ours cannot be had."""

    def __init__(self, host: str, port: int, option: str, error: OSError) -> None:
        taken = error.errno == errno.EADDRINUSE
        reason = "another program has it" if taken else (error.strerror or str(error)).lower()
        super().__init__(f"cannot listen on port {port} of {host}: {reason}")
        self.option = option
        """What chooses another one."""


def in_url(host: str) -> str:
    """A host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def free_port(host: str, port: int, option: str) -> int:
    """The port itself if it is free, or any free one for 0.

    Raises:
        PortTaken: somebody else listens there, or this user may not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(host, port, option, error) from error
        chosen: int = probe.getsockname()[1]
        return chosen
