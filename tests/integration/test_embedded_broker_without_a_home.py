"""Without a home directory and with hostile Java variables, the broker starts, and keeps to its data directory."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.jars import jars_in

PROGRAM = """
import sys
from pathlib import Path
from laneway.kafka.broker import EmbeddedKafka

with EmbeddedKafka(Path(sys.argv[1])) as kafka:
    print(kafka.bootstrap_servers)
"""


def test_it_starts(tmp_path: Path) -> None:
    jars_in(tmp_path / "cache")  # so that nothing needs to be fetched
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    environment |= {
        "HOME": "/dev/null",
        "PATH": "/nonexistent",
        "JAVA_HOME": "/nonexistent",
        "JAVA_TOOL_OPTIONS": "-XX:NoSuchOption",
        "CLASSPATH": "/nonexistent",
    }
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=90
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("127.0.0.1:")
