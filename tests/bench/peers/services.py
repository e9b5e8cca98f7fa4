"""What the peers need beside Python: environments of their own, Redis and RabbitMQ, on loopback and in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from laneway.bench.machine import tree
from laneway.stack.ports import claim
from schemas.errors import BenchmarkError
from tests.support.source_tree import ROOT

FOLDER: Final = ROOT / ".bench"
REQUIREMENTS: Final = Path(__file__).parent / "requirements"
HOST: Final = "127.0.0.1"

_READY_WITHIN: Final = 60.0
_STOP_WITHIN: Final = 20.0
# Debian's own place first: the one on PATH refuses any user but root and its own.
_RABBITMQ: Final = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
_PACKAGES: Final = {"redis-server": ("redis-server",), "rabbitmq-server": _RABBITMQ, "wrk": ("wrk",)}
_POLICY: Final = Path("/usr/sbin/policy-rc.d")


def program(*names: str) -> str | None:
    """The first of these programs that is there."""
    return next((found for name in names if (found := shutil.which(name))), None)


def install_programs() -> None:
    """Install Redis, RabbitMQ and wrk from the system's packages where they are missing.

    Raises:
        BenchmarkError: they are missing, and this user cannot install them: says what to install.
    """
    missing = [package for package, names in _PACKAGES.items() if not program(*names)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchmarkError(f"not installed: {', '.join(missing)}; install them, or run as root where apt-get is")
    with _services_stay_stopped():
        apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], check=True, env=environment, stdout=sys.stderr)
        install = ["install", "-y", "--no-install-recommends", *missing]
        subprocess.run([*apt, *install], check=True, env=environment, stdout=sys.stderr)


@contextmanager
def _services_stay_stopped() -> Iterator[None]:
    """Debian starts a service as it is installed; ours are started by us, elsewhere."""
    before = _POLICY.read_bytes() if _POLICY.exists() else None
    _POLICY.write_text("#!/bin/sh\nexit 101\n", "ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            _POLICY.unlink()
        else:
            _POLICY.write_bytes(before)


def environment_of(peer: str) -> Path:
    """The ``bin`` folder of a peer's environment, which is made when its requirements have changed."""
    folder = FOLDER / "venvs" / peer
    wanted = (REQUIREMENTS / f"{peer}.txt").read_text("utf-8")
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        listed = str(REQUIREMENTS / f"{peer}.txt")
        uv = Path(sys.executable).with_name("uv")
        quick = [str(uv), "pip", "install", "--quiet", "--system-certs", "--python", str(folder / "bin" / "python")]
        if not uv.exists() or subprocess.run([*quick, "-r", listed], check=False).returncode:
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", listed], check=True)
        stamp.write_text(wanted, "utf-8")
    return folder / "bin"


class Running:
    """A process of ours with everything it starts, ended by its ids."""

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # not a session: as ours are, see laneway.stack.children
            )

    def pids(self) -> list[int]:
        """It and everything it started."""
        return tree(self.process.pid)

    def until_listening(self, port: int) -> None:
        """Wait until somebody answers on a port.

        Raises:
            BenchmarkError: the process ended, or the time is up.
        """
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                socket.create_connection((HOST, port), 1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    last = self.log.read_text("utf-8", errors="replace")[-1500:]
                    raise BenchmarkError(f"{self.name} does not listen on {port}; its log ends with:\n{last}") from None
                time.sleep(0.1)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and everything it started; by force whatever is left after a while."""
        members = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in members[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def kill(self) -> None:
        """End it and everything it started without warning."""
        self.stop(signal.SIGKILL)


class Services:
    """Redis and RabbitMQ with their defaults, fresh, on free ports; a context manager, which ends them."""

    def __init__(self, folder: Path, *, rabbitmq: bool) -> None:
        self.folder = folder
        self.redis_port = claim("redis", HOST, 0)
        self.rabbitmq_port = claim("rabbitmq", HOST, 0)
        self._with_rabbitmq = rabbitmq
        self._redis: Running | None = None
        self._rabbitmq: list[Running] = []

    def __enter__(self) -> "Services":
        try:
            self._start_redis()
            if self._with_rabbitmq:
                self._start_rabbitmq()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End them."""
        for service in [*reversed(self._rabbitmq), *([self._redis] if self._redis else [])]:
            service.stop()

    def groups(self) -> dict[str, list[int]]:
        """Process ids by service."""
        groups = {"redis": self._redis.pids() if self._redis else []}
        if self._rabbitmq:
            groups["rabbitmq"] = [pid for service in self._rabbitmq for pid in service.pids()]
        return groups

    def _start_redis(self) -> None:
        data = self.folder / "redis"
        data.mkdir(parents=True)
        # As Debian's redis.conf has it: snapshots, no append-only file.
        options = ["--port", str(self.redis_port), "--bind", HOST, "--dir", str(data), "--appendonly", "no"]
        command = [program("redis-server") or "redis-server", *options, "--save", "3600 1 300 100 60 10000"]
        self._redis = Running("redis", command, environment=os.environ, log=self.folder / "redis.log", folder=data)
        self._redis.until_listening(self.redis_port)

    def _start_rabbitmq(self) -> None:
        data = self.folder / "rabbitmq"
        data.mkdir(parents=True)
        names_port, distribution_port = claim("epmd", HOST, 0), claim("rabbitmq", HOST, 0)
        configuration = data / "rabbitmq.conf"
        configuration.write_text(f"listeners.tcp.default = {HOST}:{self.rabbitmq_port}\n", "ascii")
        environment = {
            **os.environ,
            "HOME": str(data),
            "RABBITMQ_NODENAME": "bench@localhost",
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "ERL_EPMD_PORT": str(names_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        # A name server of our own, so that none is left behind that RabbitMQ started on the side.
        names = [program("epmd") or "epmd", "-address", HOST, "-port", str(names_port)]
        server = [program(*_RABBITMQ) or "rabbitmq-server"]
        for name, command in (("epmd", names), ("rabbitmq", server)):
            log = self.folder / f"{name}.log"
            self._rabbitmq.append(Running(name, command, environment=environment, log=log, folder=data))
        self._rabbitmq[-1].until_listening(self.rabbitmq_port)
