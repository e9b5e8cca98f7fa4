"""Which addresses a callback may be sent to. No I/O.

Whoever submits a task chooses the address, and the worker that connects stands inside the operator's network: what is
inside must not be reachable that way (server-side request forgery).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A table of our own: what `ipaddress` calls global differs between the releases of Python.
_INSIDE: Final[tuple[IPv4Network, ...]] = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' own
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's services for its machines
            "169.254.0.0/16",  # link-local, with the metadata of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
_INSIDE_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols' own, Teredo among them, which carries IPv4 addresses
            "2001:db8::/32",
            "2002::/16",  # 6to4, which carries IPv4 addresses
            "3fff::/20",
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_inside(address: str, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address must not be connected to: it is not one of the public internet, nor of an allowed network.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64) is judged as that. Whatever cannot be read is inside.
    """
    try:
        found = _plain(ip_address(address))
    except ValueError:
        return True
    if any(found in network for network in allowed):
        return False
    if isinstance(found, IPv4Address):
        return any(found in network for network in _INSIDE)
    return found not in _GLOBAL_6 or any(found in network for network in _INSIDE_6)


def _plain(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def check_callback_url(url: str, allowed: Iterable[Network] = ()) -> str:
    """Return the host of a ``callback_url`` if it can be one, as far as it says without asking for the name's address.

    Raises:
        ValueError: it cannot, and why.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"no address: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("want http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave name and password out: the address is shown in statuses; requests are signed instead")
    if any(not character.isprintable() or character.isspace() for character in url):
        raise ValueError("it holds blanks or control characters")
    if _is_address(host) and is_inside(host, allowed):
        raise ValueError(f"{host} is an address inside, where callbacks are not sent")
    return host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
