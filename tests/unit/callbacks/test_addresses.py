"""No address inside is taken for a receiver's, however it is written, unless its network is allowed."""

import pytest

from laneway.receivers import check_callback_url, is_inside
from schemas.settings import networks_in

INSIDE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "no address",
    "",
]
OUTSIDE = ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_one(address: str) -> None:
    assert is_inside(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_not(address: str) -> None:
    assert not is_inside(address)


def test_an_allowed_network_opens_itself_and_nothing_else() -> None:
    allowed = networks_in("10.1.0.0/16, fd00::/8")
    assert not is_inside("10.1.2.3", allowed)
    assert not is_inside("::ffff:10.1.2.3", allowed)
    assert not is_inside("fd12::1", allowed)
    assert is_inside("10.2.0.1", allowed)
    assert is_inside("169.254.169.254", allowed)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1/x", "inside"),
        ("http://[::1]:8080/", "inside"),
        ("https://[::ffff:10.0.0.1]/", "inside"),
        ("http://user:secret@example.com/", "leave name and password out"),
        ("http:///nowhere", "a host"),
        ("ftp://example.com/", "http://"),
        ("http://example.com:99999/", "no address"),
        ("http://[::1/", "no address"),
        ("http://example.com/a b", "blanks"),
        ("http://example.com/\r\nx: y", "blanks"),
    ],
)
def test_an_address_that_cannot_be_is_refused_and_says_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_callback_url(url)
    assert "secret" not in str(refused.value)


def test_one_that_can_be_gives_its_host() -> None:
    assert check_callback_url("https://Example.com:8443/hooks?x=1") == "example.com"
    assert check_callback_url("http://10.1.0.9/", networks_in("10.1.0.0/16")) == "10.1.0.9"
