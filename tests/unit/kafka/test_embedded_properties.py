from pathlib import Path

import pytest

from laneway.kafka.embedded.jars import JarSet
from laneway.kafka.embedded.process import tail
from laneway.kafka.embedded.properties import NodePorts, escaped, log4j_properties, server_properties

ONE = [NodePorts(1, 9092, 19092)]
THREE = [NodePorts(n, 9091 + n, 19091 + n) for n in (1, 2, 3)]


def settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_one_node_asks_for_one_copy() -> None:
    one = settings(server_properties(1, ONE, Path("/data/node-1")))
    assert one["controller.quorum.voters"] == "1@127.0.0.1:19092"
    copies = {name: value for name, value in one.items() if name.endswith("replication.factor")}
    assert set(copies.values()) == {"1"}
    assert one["min.insync.replicas"] == "1"


def test_three_nodes_keep_three_copies_and_need_two() -> None:
    second = settings(server_properties(2, THREE, Path("/data/node-2")))
    assert second["node.id"] == "2"
    assert second["controller.quorum.voters"] == "1@127.0.0.1:19092,2@127.0.0.1:19093,3@127.0.0.1:19094"
    assert second["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9093"
    assert {value for name, value in second.items() if name.endswith("replication.factor")} == {"3"}
    assert {value for name, value in second.items() if name.endswith(("min.isr", "insync.replicas"))} == {"2"}


def test_nothing_listens_beyond_the_loopback_interface() -> None:
    for node in (1, 2, 3):
        listeners = settings(server_properties(node, THREE, Path("/data")))["listeners"].split(",")
        assert all("://127.0.0.1:" in listener for listener in listeners)


def test_clients_are_told_the_proxy_and_the_nodes_are_not() -> None:
    own = NodePorts(1, 9092, 19092, advertised=7001, internal=29092)
    one = settings(server_properties(1, [own], Path("/data/node-1")))
    assert "PLAINTEXT://127.0.0.1:9092" in one["listeners"].split(",")
    assert one["advertised.listeners"] == "PLAINTEXT://127.0.0.1:7001,INTERNAL://127.0.0.1:29092"
    assert one["inter.broker.listener.name"] == "INTERNAL"


@pytest.mark.parametrize(
    ("value", "written"), [("/a b", "/a b"), ("C:\\x", "C:\\u005cx"), ("/ü", "/\\u00fc"), (7, "7")]
)
def test_values_are_written_as_java_reads_them(value: object, written: str) -> None:
    assert escaped(value) == written


def test_the_log_is_bounded() -> None:
    log = settings(log4j_properties(Path("/data/node-1")))
    assert log["appender.file.policies.size.size"] == "10MB"
    assert log["appender.file.strategy.max"] == "2"


def test_the_pinned_jars_are_whole() -> None:
    pinned = JarSet.pinned()
    names = [jar.file_name for jar in pinned.jars]
    assert len(set(names)) == len(names)
    assert all(len(jar.sha256) == 64 for jar in pinned.jars)
    assert {jar.version for jar in pinned.jars if jar.artifact.startswith("kafka")} == {pinned.kafka_version}
    assert "log4j-slf4j-impl" in {jar.artifact for jar in pinned.jars}


def test_a_lock_file_reads_back_what_was_written() -> None:
    pinned = JarSet.pinned()
    assert JarSet.parse("# comment\n\n" + "\n".join(map(str, pinned.jars))) == pinned


def test_the_tail_of_a_log_is_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    assert tail(log, 3) == ""
    log.write_text("old\none\ntwo\nthree\n")
    assert tail(log, 2) == "two\nthree"
    assert tail(log, 9, after=4) == "one\ntwo\nthree"
    assert tail(log, 9, after=999) == "old\none\ntwo\nthree"
