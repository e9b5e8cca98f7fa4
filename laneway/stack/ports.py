import errno
import socket
from collections.abc import Collection

from schemas.errors import ConfigurationError


def claim(option: str, host: str, port: int, avoid: Collection[int] = ()) -> int:
    """The port to listen on: ``port`` itself if it is free, a free one for 0, and then none of ``avoid``.

    Raises:
        ConfigurationError: it is taken or not ours to use, naming the option that chooses another.
    """
    while True:
        found = _bindable(option, host, port)
        if port or found not in avoid:
            return found


def _bindable(option: str, host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still fading is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            seen = f"{port}, which is taken" if error.errno == errno.EADDRINUSE else f"{port} ({error.strerror})"
            raise ConfigurationError(option, seen, f"a free port on {host}, or 0 to have one chosen") from None
        return int(probe.getsockname()[1])
