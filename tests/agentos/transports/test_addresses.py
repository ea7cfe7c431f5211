"""Whose address counts: what only a trusted proxy can say, and what nobody can."""

from ipaddress import ip_network

import pytest

from agentos.transports.addresses import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))

CASES = {
    "no proxy": ("203.0.113.7", [], "203.0.113.7"),
    "a client that lies": ("203.0.113.7", ["127.0.0.1"], "203.0.113.7"),
    "behind a proxy": ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    "a client that lies behind a proxy": ("10.0.0.1", ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
    "behind two proxies": ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    "two headers": ("10.0.0.1", ["127.0.0.1", "203.0.113.7"], "203.0.113.7"),
    "proxies all the way": ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    "no address": ("10.0.0.1", ["203.0.113.7, <script>"], "10.0.0.1"),
    "nothing said": ("10.0.0.1", [""], "10.0.0.1"),
    "IPv4 inside IPv6": ("::ffff:203.0.113.7", [], "203.0.113.7"),
    "a proxy inside IPv6": ("::ffff:10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
    "IPv6": ("::1", ["2001:db8::1"], "2001:db8::1"),
    "IPv6 in brackets": ("::1", ["[2001:db8::1]"], "2001:db8::1"),
    "a Unix socket": ("", ["203.0.113.7"], ""),
}


@pytest.mark.parametrize(("peer", "forwarded", "client"), CASES.values(), ids=CASES)
def test_the_client_is_the_first_who_is_no_proxy_of_ours(peer: str, forwarded: list[str], client: str) -> None:
    assert client == client_address(peer, forwarded, PROXIES)
