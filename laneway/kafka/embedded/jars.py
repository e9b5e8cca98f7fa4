"""The jars of Apache Kafka: which they are, where they are kept, and that they are what they should be.

``jars.lock`` lists every jar with its size and SHA-256 sum; ``python -m laneway.kafka.embedded.lock`` writes it. Only
what it lists is fetched and run, so a start resolves no dependencies, and once all are in the cache, uses no network.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from laneway.kafka.embedded.locking import locked
from schemas.errors import BrokerUnavailableError, ConfigurationError

LOCK_FILE: Final = Path(__file__).with_name("jars.lock")
DOWNLOADS_AT_ONCE: Final = 4
TRIES: Final = 3

ProgressListener = Callable[[str, int, int], None]
"""Called with what is going on, bytes done and bytes in all (both 0 for a step that has no size); from any thread."""


def ignore_progress(_what: str, _done: int, _total: int) -> None:
    """A listener for whom silence is enough."""


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    sha256: str
    size: int
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """Its name in the cache, the same as in the repository that it comes from."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.sha256} {self.size:>9} {self.group}:{self.artifact}:{self.version}"


@dataclass(frozen=True)
class JarSet:
    """All jars of the broker, in the order of its class path."""

    jars: tuple[Jar, ...]

    @classmethod
    def parse(cls, text: str) -> "JarSet":
        """Read the form that ``str`` of a jar writes, one on each line; ``#`` starts a comment."""
        jars = []
        for line in text.splitlines():
            if entry := line.partition("#")[0].strip():
                sha256, size, coordinate = entry.split()
                group, artifact, version = coordinate.split(":")
                jars.append(Jar(sha256, int(size), group, artifact, version))
        return cls(tuple(jars))

    @classmethod
    def pinned(cls) -> "JarSet":
        """The set that this version of Laneway runs."""
        return cls.parse(LOCK_FILE.read_text("utf-8"))

    @cached_property
    def digest(self) -> str:
        """Names this very set: it changes when any jar does."""
        return hashlib.sha256("\n".join(map(str, self.jars)).encode()).hexdigest()[:12]

    @cached_property
    def kafka_version(self) -> str:
        """Version of Kafka itself."""
        return next(jar.version for jar in self.jars if jar.artifact.startswith("kafka_"))

    def directory(self, cache_dir: Path) -> Path:
        """Where the set is kept within a cache directory."""
        return cache_dir / f"kafka-{self.kafka_version}-{self.digest}"

    def class_path(self, cache_dir: Path) -> str:
        """Java's ``-cp``."""
        return os.pathsep.join(str(self.directory(cache_dir) / jar.file_name) for jar in self.jars)


def provide(
    jar_set: JarSet,
    cache_dir: Path,
    *,
    repositories: Mapping[str, str] | None = None,
    on_progress: ProgressListener = ignore_progress,
) -> Path:
    """Make sure that every jar of the set is in the cache and is the pinned one; answers their directory.

    Any number of processes may do this at once: one fetches, the others wait for it.

    Args:
        jar_set: which jars.
        cache_dir: where this user keeps jars; the set gets a directory of its own in it.
        repositories: Maven repositories by name; the central one unless given.
        on_progress: hears how much has been fetched.

    Blocking: fetches what is missing. Uses no network when nothing is.

    Raises:
        ConfigurationError: a jar in the cache is not the pinned one.
        BrokerUnavailableError: a jar could not be fetched.
    """
    directory = jar_set.directory(cache_dir)
    if _missing(jar_set, directory):
        directory.mkdir(parents=True, exist_ok=True)
        with locked(cache_dir / "fetch.lock"):
            for leftover in cache_dir.glob(
                ".fetch-*"
            ):  # of a process that was killed: we hold the lock, nobody uses it
                shutil.rmtree(leftover, ignore_errors=True)
            if missing := _missing(jar_set, directory):  # another process may have fetched while we waited
                _fetch(missing, directory, repositories, on_progress)
    for jar in jar_set.jars:
        _verify(jar, directory / jar.file_name, f"delete {directory}, and it is fetched again")
    return directory


def _missing(jar_set: JarSet, directory: Path) -> list[Jar]:
    return [jar for jar in jar_set.jars if not (directory / jar.file_name).is_file()]


def _verify(jar: Jar, path: Path, remedy: str) -> None:
    with path.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != jar.sha256:
        raise ConfigurationError(str(path), f"SHA-256 {seen}", f"{jar.sha256} as in {LOCK_FILE.name}: {remedy}")


def _fetch(
    missing: list[Jar], directory: Path, repositories: Mapping[str, str] | None, on_progress: ProgressListener
) -> None:
    # Imported here because it takes a moment, and only the first start needs it.
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    total = sum(jar.size for jar in missing)
    done = 0
    guard = threading.Lock()

    @contextlib.contextmanager
    def count(_file_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def add(received: int) -> None:
            nonlocal done
            with guard:
                done = min(done + received, total)
                on_progress("fetching Apache Kafka", done, total)

        yield add

    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory.parent) as staging:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=count),
            repo_cache=Path(staging),
            remote_repos=dict(repositories or {"central": MAVEN_CENTRAL_URL}),
            timeout=30,
        )

        def fetch(jar: Jar) -> None:
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
            path = _tried(artifact.resolve, jar, artifact.cached_path)
            _verify(jar, path, "what the repository sent is not what was pinned; nothing of it was kept")
            path.replace(directory / jar.file_name)  # atomic: a jar is in the cache whole or not at all

        on_progress("fetching Apache Kafka", 0, total)
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="fetch-jar") as pool:
            downloads = [pool.submit(fetch, jar) for jar in missing]
            try:
                for download in downloads:
                    download.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _tried(download: Callable[[], Path], jar: Jar, partial: Path | None) -> Path:
    for attempt in range(1, TRIES + 1):
        try:
            return download()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's are RuntimeErrors
            if attempt == TRIES:
                raise BrokerUnavailableError(
                    f"could not fetch {jar.group}:{jar.artifact}:{jar.version}, for the embedded broker: {error}. "
                    "Check the network (behind a proxy of your own: HTTPS_PROXY and REQUESTS_CA_BUNDLE), "
                    "or use a cluster that exists: LANEWAY_KAFKA__BOOTSTRAP_SERVERS."
                ) from error
            if partial is not None:
                partial.unlink(missing_ok=True)
    raise AssertionError("unreachable: the last try returns or raises")
