"""A real Prometheus for tests: its server, and ``promtool``."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.support.api import free_port
from tests.support.source_tree import ROOT

CONFIGURATION: Final = ROOT / "docker" / "prometheus" / "prometheus.yml"
RULES: Final = ROOT / "docker" / "prometheus" / "rules" / "laneway.yml"
REQUIRED: Final = "PROMETHEUS_TESTS"
"""Variable that turns a missing Prometheus from a reason to skip into a failure, where it says ``required``."""
_PROGRAMS: Final = ("prometheus", "promtool")
_PACKAGE: Final = "prometheus"
_START_SECONDS: Final = 30.0


def programs() -> Path:
    """The folder of ``prometheus`` and ``promtool``: of PATH, else of Debian's package, unpacked into a cache.

    Where there is neither, the test is skipped.
    """
    found = [shutil.which(name) for name in _PROGRAMS]
    if all(found) and found[0] is not None:
        return Path(found[0]).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "laneway" / "prometheus"
    said = None if _run(cache) else _unpack(cache)
    if said is None:
        return cache / "usr" / "bin"
    wanted = f"no Prometheus to test with ({said}): install Debian's `prometheus`, or put both programs on PATH"
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(wanted)
    pytest.skip(wanted)


def promtool(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run ``promtool`` to its end."""
    return subprocess.run([programs() / "promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def _run(folder: Path) -> bool:
    try:
        return all(
            subprocess.run([folder / "usr" / "bin" / name, "--version"], capture_output=True).returncode == 0
            for name in _PROGRAMS
        )
    except OSError:
        return False


def _unpack(folder: Path) -> str | None:
    """Get Debian's package, without installing it; answers why that cannot be."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "this is no Debian"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", _PACKAGE]
        got = subprocess.run(command, cwd=unfinished, capture_output=True, text=True)
        if got.returncode != 0 and os.geteuid() == 0:  # without the lists of packages
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True)
            got = subprocess.run(command, cwd=unfinished, capture_output=True, text=True)
        packages = list(Path(unfinished).glob("*.deb"))
        if got.returncode != 0 or not packages:
            return f"apt-get download: {got.stderr.strip()[-200:]}"
        tree = Path(unfinished) / "tree"
        subprocess.run(["dpkg", "-x", packages[0], tree], check=True, capture_output=True)
        if not _run(tree):
            return "Debian's does not run here"
        shutil.rmtree(folder, ignore_errors=True)
        tree.replace(folder)
    return None


class RunningPrometheus:
    """A Prometheus that scrapes."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers."""
        answer = httpx.get(f"{self.address}/api/v1/{path}", params=parameters, trust_env=False, timeout=10)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of an expression."""
        return [(each["metric"], float(each["value"][1])) for each in self.ask("query", query=expression)["result"]]

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """Labels of the alerts that fire now, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found


def hastened(rules: Path, by: int) -> str:
    """The alerts with every duration, and every threshold of seconds that tasks wait, so many times shorter."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

    def shorter(found: "re.Match[str]") -> str:
        return f"{found[1]}{max(1, int(found[2]) * units[found[3]] // by)}s{found[4]}"

    text = re.sub(r"(\[|for: )(\d+)([smhd])(\]|\n)", shorter, rules.read_text("utf-8"))
    return re.sub(r"(_seconds\) > )(\d+)", lambda found: f"{found[1]}{int(found[2]) / by:g}", text)


@contextmanager
def running_prometheus(
    folder: Path, targets: Mapping[str, list[str]], rules: Path = RULES, *, every: str = "1s"
) -> Iterator[RunningPrometheus]:
    """Prometheus with the configuration of ``docker/prometheus``, for as long as the block runs.

    Args:
        folder: for its data.
        targets: addresses by job, instead of the names that containers have.
        rules: the alerts.
        every: how often it scrapes and evaluates.
    """
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["global"] = {"scrape_interval": every, "evaluation_interval": every}
    configuration["rule_files"] = [str(rules)]
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                programs() / "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(f"http://{address}/-/ready", server, folder / "prometheus.log")
        yield RunningPrometheus(f"http://{address}")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _await(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
