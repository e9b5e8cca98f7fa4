"""Stands between Laneway and one Java process, so that Java never outlives whoever started it.

Run by path with the standard library alone (``python -I -S guard.py …``): it starts in milliseconds and imports
nothing of Laneway. Its standard input is a pipe that the parent holds open and never writes to. The end of that pipe,
whether the parent closed it or died of SIGKILL, means "stop": Java gets SIGTERM, and SIGKILL once the grace is over.
On Linux the kernel kills Java too, should the guard itself be killed.

Standard output carries one line, Java's process id. Standard error is a file, and both of Java's outputs go there.
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 1.0


def main() -> int:
    """Run the command until it ends or nobody wants it any more; the exit code is the command's."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--grace", type=float, required=True, help="seconds between SIGTERM and SIGKILL")
    arguments.add_argument("--nice", type=int, default=0, help="added to the command's niceness")
    arguments.add_argument("--keep-fd", type=int, action="append", default=[], help="descriptor that Java inherits")
    arguments.add_argument("--rename", nargs=2, metavar=("FROM", "TO"), help="done once the command has succeeded")
    arguments.add_argument("command", nargs="+")
    options = arguments.parse_args()

    parent = os.getppid()
    os.nice(options.nice)
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    stop_requested = False

    def request_stop(_signum: int, _frame: object) -> None:
        nonlocal stop_requested
        stop_requested = True

    signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
    signal.signal(signal.SIGTERM, request_stop)
    # Its own process group keeps the terminal's Ctrl-C away; a stray signal must not break the order of a stop either.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    java = subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        pass_fds=options.keep_fd,
        preexec_fn=die_with_guard(os.getpid()),  # noqa: PLW1509  (this process has one thread)
    )
    # The parent may be gone already; then the pipe's end below says so.
    try:
        os.write(sys.stdout.fileno(), b"%d\n" % java.pid)
    except BrokenPipeError:
        stop_requested = True

    deadline: float | None = None
    while java.poll() is None:
        watched = [wake_read] if deadline else [wake_read, sys.stdin.fileno()]
        readable, _, _ = select.select(watched, [], [], POLL_SECONDS if deadline is None else 0.05)
        if wake_read in readable:
            os.read(wake_read, 1024)
        # A child that the parent forked may hold the pipe open beyond the parent's death: look at our parent, too.
        if sys.stdin.fileno() in readable or os.getppid() != parent:
            stop_requested = True
        if stop_requested and deadline is None:
            deadline = time.monotonic() + options.grace
            java.terminate()
        elif deadline is not None and time.monotonic() > deadline:
            java.kill()
            java.wait()
    if java.returncode == 0 and options.rename:
        source, target = options.rename
        Path(source).replace(target)
    return java.returncode if java.returncode >= 0 else 128 - java.returncode


def die_with_guard(guard: int) -> Callable[[], None]:
    """What the forked child does before it becomes Java: ask the kernel to be killed when the guard dies (Linux)."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it died between the fork and the request
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


if __name__ == "__main__":
    sys.exit(main())
