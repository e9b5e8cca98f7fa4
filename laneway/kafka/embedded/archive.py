"""Class-data sharing: the classes that a broker loads, prepared once, which nearly halves the time of every start.

The first start with a new set of jars writes down which classes it loads. From that list a second Java, in the
background and with the lowest priority, makes an archive beside the jars; later starts map it. Java itself ignores an
archive that does not belong to its version, its class path or the jars' dates.
"""

import os
from pathlib import Path
from typing import Final

from laneway.kafka.embedded.jars import JarSet
from laneway.kafka.embedded.locking import acquire
from laneway.kafka.embedded.process import JAVA_VERSION, GuardedJava

# The archive keeps objects of the heap, too, so it is made under the options that it is used with.
OPTIONS: Final = ("-Xmx512m", "-XX:+UseSerialGC")


class ClassArchive:
    """The archive of one set of jars and one Java."""

    def __init__(self, jar_set: JarSet, cache_dir: Path) -> None:
        self._jar_set = jar_set
        self._cache_dir = cache_dir
        self._directory = jar_set.directory(cache_dir)
        self.path = self._directory / f"classes-{JAVA_VERSION}.jsa"
        self._maker: GuardedJava | None = None

    def options(self, record_to: Path) -> list[str]:
        """Java's options to use the archive, or to record the list that it is made from."""
        if self.path.is_file():
            # The check sums guard against a damaged file; a mismatch of any kind means a slow start, not a failed one.
            return [f"-XX:SharedArchiveFile={self.path}", "-Xshare:auto", "-XX:+VerifySharedSpaces", "-Xlog:disable"]
        return [f"-XX:DumpLoadedClassList={record_to}"]

    def make_in_background(self, recorded: Path) -> None:
        """Begin to make the archive from a recorded list, unless it exists or somebody makes it already."""
        if self.path.is_file() or self._maker is not None or not recorded.is_file():
            return
        if not os.access(self._directory, os.W_OK):
            return  # jars that were put there for us, in an image for one: every start is a slow one, and works
        lock = acquire(self._directory / "archive.lock")
        if lock is None:
            return
        try:
            class_list, unfinished = self._directory / "classes.lst", self._directory / "unfinished.jsa"
            # The recording goes on; its last line may be half written.
            class_list.write_bytes(recorded.read_bytes().rpartition(b"\n")[0] + b"\n")
            unfinished.unlink(missing_ok=True)
            self._maker = GuardedJava(
                [
                    "-Xshare:dump",
                    *OPTIONS,
                    "-Xlog:disable",
                    f"-XX:SharedClassListFile={class_list}",
                    f"-XX:SharedArchiveFile={unfinished}",
                    "-cp",
                    self._jar_set.class_path(self._cache_dir),
                ],
                console=self._directory / "archive.log",
                nice=19,
                keep_fd=lock,  # held until the maker ends, however it ends
                on_success=(unfinished, self.path),
            )
        finally:
            os.close(lock)

    def stop(self) -> None:
        """Give up making it; the next start begins again."""
        if self._maker is not None:
            self._maker.kill()
            self._maker = None
