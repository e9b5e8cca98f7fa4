from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured

if TYPE_CHECKING:
    from laneway.client import Client

# Somebody sits before the terminal: an API that is not there is said soon.
PATIENCE = timedelta(seconds=2)


def address_of(api: str | None) -> str:
    """This address of an API, else the one that the settings name."""
    if api is not None:
        return api
    settings = configured().settings.api
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host  # noqa: S104  (asked, not bound)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def client_of(api: str | None) -> "Client":
    """A client of the API at this address, else of the one that the settings name."""
    from laneway.client import Client

    return Client(address_of(api), retry_for=PATIENCE)


def payload_of(text: str) -> Any:
    """The JSON that an argument is: itself, `-` for standard input, `@FILE` for a file."""
    import msgspec

    if text == "-":
        data = click.get_binary_stream("stdin").read()
    elif text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise click.BadParameter(f"there is no file {path}", param_hint="JSON")
        data = path.read_bytes()
    else:
        data = text.encode()
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="JSON") from None
