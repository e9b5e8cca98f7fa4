"""Other people's scripts that the pages bring along: fetched by package name, checked by hash, kept in the repository.

``make assets`` runs it. What is served at run time is what lies in ``static/vendor``; nothing is fetched then.
"""

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "static" / "vendor"
LOCK: Final = FOLDER / "lock.json"


class VendoredFile(msgspec.Struct, frozen=True):
    """One file taken out of a package."""

    source: str
    """Where it lies in the package."""
    sha256: str


class Vendored(msgspec.Struct, frozen=True):
    """One package of npm."""

    package: str
    version: str
    licence: str
    integrity: str
    """Digest of its archive, as npm writes it."""
    files: dict[str, VendoredFile]
    """By the name that they have here."""


class VendorLock(msgspec.Struct, frozen=True):
    """``static/vendor/lock.json``."""

    packages: list[Vendored]


def read_lock() -> VendorLock:
    """What is locked."""
    return msgspec.json.decode(LOCK.read_bytes(), type=VendorLock)


def digest(content: bytes) -> str:
    """SHA-256, as the lock writes it."""
    return hashlib.sha256(content).hexdigest()


def fetch(package: Vendored) -> dict[str, bytes]:
    """The locked files of a package, fetched anew from the registry that npm is set up for.

    Raises:
        ValueError: an archive or a file is not what was locked.
        OSError: npm is not installed.
        subprocess.CalledProcessError: npm could not fetch it.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{package.package}@{package.version}"]
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        archive = (Path(folder) / packed.stdout.split()[-1]).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != package.integrity:
        raise ValueError(f"{package.package} {package.version}: archive is {found}, locked is {package.integrity}")
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for name, locked in package.files.items():
            member = opened.extractfile(f"package/{locked.source}")
            content = b"" if member is None else member.read()
            if digest(content) != locked.sha256:
                raise ValueError(f"{package.package} {package.version}: {locked.source} is not what was locked")
            files[name] = content
    return files


def main() -> int:
    """Write every locked file again; answers the exit code."""
    for package in read_lock().packages:
        try:
            files = fetch(package)
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
            sys.stderr.write(f"make assets: {package.package} {package.version}: {said}\n")
            return 1
        for name, content in files.items():
            (FOLDER / name).write_bytes(content)
        sys.stdout.write(f"{package.package} {package.version} ({package.licence}): {', '.join(files)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
