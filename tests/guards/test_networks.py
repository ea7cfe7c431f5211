"""Networks: an address is in one or it is not, and what is no address is in none."""

from ipaddress import ip_network

import pytest

from guards.networks import Confinement, allowed, confined, neighbourhood

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "[::1]"])
def test_an_address_of_a_network_is_allowed(address: str) -> None:
    assert allowed(address, LOCAL)


@pytest.mark.parametrize("address", ["", "localhost", "10.0.0.1", "::2", "127.0.0.1.evil.test", "0x7f000001"])
def test_any_other_is_not(address: str) -> None:
    assert not allowed(address, LOCAL)


RULES = (
    Confinement("system.*", (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))),
    Confinement("system.restart", (ip_network("127.0.0.1/32"),)),
)


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("system.backup", "10.1.2.3", False),
        ("system.backup", "192.168.0.1", True),
        ("system.backup", "", True),
        ("system.restart", "10.1.2.3", True),
        ("system.restart", "::ffff:127.0.0.1", False),
        ("job.cancel", "192.168.0.1", False),
    ],
)
def test_every_rule_about_an_action_has_to_admit_the_address(name: str, address: str, expected: bool) -> None:
    assert expected is confined(name, address, RULES)


@pytest.mark.parametrize(
    ("address", "narrow", "wide"),
    [
        ("203.0.113.7", "203.0.113.7/32", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7/32", "203.0.113.0/24"),
        ("2001:db8::1:2:3:4", "2001:db8::/64", "2001:db8::/64"),
        ("", "nowhere", "nowhere"),
        ("unix", "nowhere", "nowhere"),
    ],
)
def test_a_client_is_known_by_what_it_has_to_itself(address: str, narrow: str, wide: str) -> None:
    """Who has one address of IPv6 has 2^64 of them, and would otherwise never meet a limit."""
    assert (narrow, wide) == (neighbourhood(address), neighbourhood(address, wide=True))
