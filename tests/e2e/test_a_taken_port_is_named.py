import socket
from pathlib import Path

import pytest

from tests.support.stacks import laneway


@pytest.mark.parametrize("option", ["--port", "--kafka-port"])
def test_up_on_a_taken_port_names_the_option_and_starts_nothing(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--kafka-port": "0"} | {option: port}
        environment = {"LANEWAY_KAFKA__BOOTSTRAP_SERVERS": ""} if option == "--kafka-port" else {}
        options = [part for pair in ports.items() for part in pair]
        done = laneway("up", *options, "--data-dir", "data", cwd=tmp_path, environment=environment)
    assert done.returncode == 2, done.stderr
    assert f"laneway: {option}: saw" in done.stderr
    assert port in done.stderr
    assert not (tmp_path / "data" / "kafka").exists()
