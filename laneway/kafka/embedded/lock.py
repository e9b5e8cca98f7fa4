"""Write ``jars.lock``: resolve Kafka's dependencies and pin every jar by its SHA-256 sum.

Run ``python -m laneway.kafka.embedded.lock [VERSION]`` to move to another version of Kafka, and commit what it writes.
"""

import hashlib
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from jgo.maven import Artifact, MavenContext

from laneway.kafka.embedded.jars import LOCK_FILE, Jar, JarSet

HEADER: Final = """\
# The jars of the embedded broker: SHA-256, bytes, group:artifact:version. They make the class path in this order.
# Written by `python -m laneway.kafka.embedded.lock`; do not edit by hand.
"""


def main() -> None:
    """Write the lock file for the version given, or for the one it names already."""
    version = sys.argv[1] if len(sys.argv) > 1 else JarSet.pinned().kafka_version
    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository), timeout=30)
        jars = sorted(
            (pin(artifact) for artifact in resolve(context, version)), key=lambda jar: (jar.group, jar.artifact)
        )
    LOCK_FILE.write_text(HEADER + "".join(f"{jar}\n" for jar in jars), "utf-8")
    sys.stdout.write(f"{LOCK_FILE}: {len(jars)} jars, {sum(jar.size for jar in jars) / 1e6:.1f} MB\n")


def resolve(context: MavenContext, version: str) -> list[Artifact]:
    """Every jar that Kafka needs at run time, and the one that carries SLF4J to its log4j."""
    kafka, dependencies = context.resolver.resolve(
        [context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")]
    )
    artifacts = [found.artifact for found in [*kafka, *dependencies] if found.scope in (None, "compile", "runtime")]
    # Kafka's poms leave the binding to the distribution. It is added here, not resolved beside Kafka: log4j's own pom
    # manages the version of kafka-clients, and resolving both at once would take Kafka's from there.
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    binding = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j).artifact()
    wrong = {a.version for a in artifacts if re.fullmatch(r"kafka[-_].*", a.artifactId)} - {version}
    if wrong:
        raise SystemExit(f"resolved parts of Kafka in other versions than {version}: {', '.join(sorted(wrong))}")
    return [*artifacts, binding]


def pin(artifact: Artifact) -> Jar:
    """Download one jar and take its sum."""
    content = artifact.resolve().read_bytes()
    return Jar(
        hashlib.sha256(content).hexdigest(), len(content), artifact.groupId, artifact.artifactId, artifact.version
    )


if __name__ == "__main__":
    main()
