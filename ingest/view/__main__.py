"""``python -m ingest.view``: the materialiser as a process, started by the API with its standard input as the bond."""

import fcntl
import signal
import sys

from ingest.view import schema
from ingest.view.materialiser import Materialiser
from laneway.logs import configure
from laneway.parent import exit_with_parent
from schemas.settings import load_settings


def main() -> int:
    """Follow the log until the parent ends or SIGTERM."""
    settings = load_settings()
    configure(settings.log)
    exit_with_parent()
    materialiser = Materialiser(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: materialiser.stop())
    folder = schema.database(settings.data_dir).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "writer.lock").open("w") as lock:
        # The materialiser of an API that was killed a moment ago may still be on its last transaction.
        fcntl.flock(lock, fcntl.LOCK_EX)
        materialiser.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
