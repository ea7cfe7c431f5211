"""From where: the networks that an address must be in, for what shows the whole house and for single actions.

Needs no store, so nothing can be down. What is not an address is in no network.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True)
class Confinement:
    """From where alone some actions may be used."""

    pattern: str
    """Which, such as `system.*`."""

    networks: tuple[Network, ...]


@lru_cache(maxsize=10_000)
def parsed(address: str) -> Address | None:
    """The address a text names, an IPv4 address inside IPv6 folded out of it; None when it names none."""
    try:
        found = ip_address(address.strip().strip("[]"))
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def allowed(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks."""
    found = parsed(address)
    return found is not None and any(found in network for network in networks)


def confined(name: str, address: str, confinements: Iterable[Confinement]) -> bool:
    """Whether an action is kept from an address; every rule that is about it has to admit it."""
    return any(not allowed(address, rule.networks) for rule in confinements if fnmatchcase(name, rule.pattern))


def neighbourhood(address: str, *, wide: bool = False) -> str:
    """What one client has to itself: an IPv4 address, or the /64 an IPv6 address is in; one word for all the rest.

    Args:
        wide: for IPv4, the /24 instead, in which a client finds its next address.
    """
    found = parsed(address)
    if found is None:
        return "nowhere"
    length = 64 if isinstance(found, IPv6Address) else 24 if wide else 32
    return str(ip_network((found.packed, length), strict=False))
