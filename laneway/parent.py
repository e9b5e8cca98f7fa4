"""A child's bond with the process that started it: ``python -m laneway.parent MODULE ARGUMENTS…`` runs a module so."""

import os
import runpy
import signal
import sys
import threading
import time
from datetime import timedelta
from typing import Final

GRACE: Final = timedelta(seconds=8)


def exit_with_parent(grace: timedelta = GRACE) -> None:
    """From now on this process ends when its parent does, even one that was killed.

    Standard input is a pipe that the parent holds open and never writes to; its end means that the parent is gone.
    The process then sends itself SIGTERM, so that it stops in order, and is killed with everything it started once
    ``grace`` is over. A pipe rather than Linux's parent-death signal, which strikes when the *thread* that forked
    ends, and which other systems do not have.
    """
    threading.Thread(target=_watch, args=(grace,), name="parent-watch", daemon=True).start()


def _watch(grace: timedelta) -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace.total_seconds())
    # A child of the stack leads a process group of its own, which is exactly what it started.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    exit_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
