"""HTTP load on one address: by wrk where it is installed, else by a generator of our own in a process of its own."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from schemas.errors import BenchmarkError

CONNECTIONS: Final = 64

# Shared by every request script: what it read of the environment comes as arguments, and the figures leave as JSON.
_WRK_REPORT: Final = """
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'JSON{"requests":%d,"seconds":%.4f,"refused":%d,"broken":%d,"p50_ms":%.3f,"p99_ms":%.3f}\\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""
_WRK_POST: Final = """
function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = file:read("*a")
  file:close()
end
"""
_WRK_GET: Final = """
local requests, next_one = {}, 0
function init(arguments)
  for path in io.lines(arguments[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
"""


class Load(msgspec.Struct):
    """What a load generator saw."""

    requests: int
    """Answers that came, whatever they said."""
    seconds: float
    refused: int
    """Answers other than 2xx and 3xx."""
    broken: int
    """Connections that broke, and answers that came too late."""
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (self.requests - self.refused) / self.seconds


def generator() -> str:
    """Which generator makes the load."""
    return "wrk" if shutil.which("wrk") else "laneway.bench.own_load (Python)"


def post(url: str, path: str, body: bytes, *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Post ``body`` over and over.

    Raises:
        BenchmarkError: the generator failed, or no answer came.
    """
    return _run("post", url, path, body, seconds, connections)


def get(url: str, paths: Sequence[str], *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Get these paths in turn, over and over.

    Raises:
        BenchmarkError: the generator failed, or no answer came.
    """
    return _run("get", url, "/", "\n".join(paths).encode() + b"\n", seconds, connections)


def _run(kind: str, url: str, path: str, data: bytes, seconds: float, connections: int) -> Load:
    with TemporaryDirectory(prefix="laneway-load-") as folder:
        file = Path(folder, "data")
        file.write_bytes(data)
        wrk = shutil.which("wrk")
        if wrk:
            script = Path(folder, "load.lua")
            script.write_text((_WRK_POST if kind == "post" else _WRK_GET) + _WRK_REPORT, "utf-8")
            # wrk takes whole seconds only.
            options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
            command = [wrk, *options, "-s", str(script), f"{url}{path}", "--", str(file)]
        else:
            own = [kind, url, path, str(file), str(connections), str(seconds)]
            command = [sys.executable, "-P", "-m", "laneway.bench.own_load", *own]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 120)
    for line in done.stdout.splitlines():
        if line.startswith("JSON"):
            seen = msgspec.json.decode(line[4:], type=Load)
            if not seen.requests:
                raise BenchmarkError(
                    f"nothing came back from {url}{path} in {seconds:g} s; {seen.broken} connections broke"
                )
            return seen
    raise BenchmarkError(f"{generator()} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
