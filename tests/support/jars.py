"""The embedded broker's jars for tests that spoil or serve them."""

import os
import shutil
from pathlib import Path

from laneway.kafka.embedded.jars import JarSet, provide
from schemas.settings import user_cache_dir


def jars_in(cache_dir: Path) -> JarSet:
    """Fill a cache directory of the test's own with the pinned jars, by links where the file system lets us."""
    jar_set = JarSet.pinned()
    source = provide(jar_set, user_cache_dir())
    target = jar_set.directory(cache_dir)
    target.mkdir(parents=True)
    for jar in jar_set.jars:
        try:
            os.link(source / jar.file_name, target / jar.file_name)
        except OSError:
            shutil.copy2(source / jar.file_name, target / jar.file_name)
    return jar_set
