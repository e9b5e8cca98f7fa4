"""A jar in the cache that is not the pinned one stops the start before Java sees it."""

from pathlib import Path

import pytest

from laneway.kafka.broker import EmbeddedKafka
from schemas.errors import ConfigurationError
from tests.support.jars import jars_in


def test_one_changed_byte_is_seen(tmp_path: Path) -> None:
    jar_set = jars_in(tmp_path / "cache")
    jar = next(jar for jar in jar_set.jars if jar.artifact == "kafka-clients")
    path = jar_set.directory(tmp_path / "cache") / jar.file_name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it may be a link to the real cache
    path.write_bytes(content)

    kafka = EmbeddedKafka(tmp_path / "data", cache_dir=tmp_path / "cache")
    with pytest.raises(
        ConfigurationError, match=rf"kafka-clients.*want {jar.sha256} as in jars.lock: delete .*fetched"
    ):
        kafka.start()
    assert kafka.pids == {}
