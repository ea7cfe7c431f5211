"""Networks: an address is in one or it is not, and what is no address is in none."""

from ipaddress import ip_network

import pytest

from guards.networks import allowed

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "[::1]"])
def test_an_address_of_a_network_is_allowed(address: str) -> None:
    assert allowed(address, LOCAL)


@pytest.mark.parametrize("address", ["", "localhost", "10.0.0.1", "::2", "127.0.0.1.evil.test", "0x7f000001"])
def test_any_other_is_not(address: str) -> None:
    assert not allowed(address, LOCAL)
