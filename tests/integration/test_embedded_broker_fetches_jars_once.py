"""Processes that need the jars at once fetch each of them once; who finds them in the cache needs no network."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from laneway.kafka.embedded.jars import JarSet, provide
from schemas.errors import BrokerUnavailableError, ConfigurationError
from tests.support.jars import jars_in

FETCH = """
import sys
from pathlib import Path
from laneway.kafka.embedded.jars import JarSet, provide

provide(JarSet.pinned(), Path(sys.argv[1]), repositories={"test": sys.argv[2]})
"""


@contextmanager
def repository(root: Path) -> Iterator[tuple[str, Counter[str]]]:
    """A Maven repository on this machine: its address, and how often each path was asked for."""
    asked: Counter[str] = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked[self.path] += 1

        def log_error(self, *_args: object) -> None:
            """A missing check sum file is no news."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def maven_root(tmp_path: Path) -> Path:
    """The pinned jars laid out as a Maven repository."""
    jar_set = jars_in(tmp_path / "source")
    root = tmp_path / "maven"
    for jar in jar_set.jars:
        place = root.joinpath(*jar.group.split("."), jar.artifact, jar.version)
        place.mkdir(parents=True)
        (jar_set.directory(tmp_path / "source") / jar.file_name).rename(place / jar.file_name)
    return root


def test_two_processes_fetch_each_jar_once(tmp_path: Path, maven_root: Path) -> None:
    cache = tmp_path / "cache"
    with repository(maven_root) as (address, asked):
        processes = [subprocess.Popen([sys.executable, "-c", FETCH, str(cache), address]) for _ in range(2)]
        assert [process.wait(60) for process in processes] == [0, 0]
        jars = {path: times for path, times in asked.items() if path.endswith(".jar")}
    assert set(jars.values()) == {1}
    assert len(jars) == len(JarSet.pinned().jars)
    assert not list(cache.glob(".fetch-*"))

    nowhere = {"test": "http://127.0.0.1:1"}
    provide(JarSet.pinned(), cache, repositories=nowhere)


def test_a_repository_that_sends_something_else_is_refused(tmp_path: Path, maven_root: Path) -> None:
    jar = JarSet.pinned().jars[0]
    served = maven_root.joinpath(*jar.group.split("."), jar.artifact, jar.version, jar.file_name)
    served.unlink()
    served.write_bytes(b"something else")
    with (
        repository(maven_root) as (address, _),
        pytest.raises(ConfigurationError, match=r"SHA-256 .* not what was pinned"),
    ):
        provide(JarSet.pinned(), tmp_path / "cache", repositories={"test": address})
    assert not (JarSet.pinned().directory(tmp_path / "cache") / jar.file_name).exists()


def test_an_unreachable_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"could not fetch .* LANEWAY_KAFKA__BOOTSTRAP_SERVERS"):
        provide(JarSet.pinned(), tmp_path, repositories={"test": "http://127.0.0.1:1"})
