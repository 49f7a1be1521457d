"""Platform and agent share no code, and mean the same by an address of the open internet."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st

from hostagent import registries
from rentals.registry import reaching


@given(st.ip_addresses())
@example(ipaddress.ip_address("168.63.129.16"))
@example(ipaddress.ip_address("::ffff:127.0.0.1"))
@example(ipaddress.ip_address("2001:db8::1"))
@example(ipaddress.ip_address("2002:7f00:1::"))
@example(ipaddress.ip_address("3fff::1"))
@example(ipaddress.ip_address("fec0::1"))
@example(ipaddress.ip_address("2606:4700::1111"))
def test_both_mean_the_same_by_a_public_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert registries.is_public(address) == reaching.is_public(address)
