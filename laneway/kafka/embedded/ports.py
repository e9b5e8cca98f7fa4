"""Ports on the loopback interface, the only one that the embedded broker listens on."""

import socket
from collections.abc import Sequence
from typing import Final

HOST: Final = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int, avoid: Sequence[int]) -> list[int]:
    """Distinct free ports, all held until the last is chosen."""
    sockets: list[socket.socket] = []
    try:
        found: list[int] = []
        while len(found) < count:
            probe = socket.socket()
            sockets.append(probe)
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
            if port not in avoid:
                found.append(port)
        return found
    finally:
        for probe in sockets:
            probe.close()


def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
