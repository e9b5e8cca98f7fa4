"""What a local stack signs its callbacks with."""

import base64
import os
import secrets
from pathlib import Path
from typing import Final

SECRET_FILE: Final = "callback-secret"  # noqa: S105  (a name)


def callback_secret(data_dir: Path) -> str:
    """The secret of a data directory, as Standard Webhooks write it.

    Made at the first call, for its owner alone to read.
    """
    path = data_dir / SECRET_FILE
    made = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(made)
    return made.strip()
