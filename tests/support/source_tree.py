import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("consumers", "ingest", "laneway", "schemas", "streams")

_NOT_SOURCE: Final = {"__pycache__", "build", "dist"}


def source_files() -> list[Path]:
    """Every file that is or would be committed, relative to the root.

    Git knows it. In an unpacked archive without Git it is every file outside hidden and built folders.
    """
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return sorted(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file())
    return sorted(_walk())


def modules(*packages: str) -> list[Path]:
    """Every Python file under the given top-level folders, relative to the root."""
    return [path for path in source_files() if path.suffix == ".py" and path.parts[0] in packages]


def _walk() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NOT_SOURCE and name not in {".venv", ".laneway"}]
        folders[:] = [name for name in folders if not name.endswith(("_cache", ".egg-info")) and name != ".hypothesis"]
        yield from ((Path(folder) / name).relative_to(ROOT) for name in names)
