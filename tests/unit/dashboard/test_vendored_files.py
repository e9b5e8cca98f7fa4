"""What the pages bring along from others is exactly what the lock says."""

from ingest.dashboard.vendoring import FOLDER, LOCK, digest, read_lock


def test_each_file_is_the_locked_one() -> None:
    for package in read_lock().packages:
        for name, locked in package.files.items():
            assert digest((FOLDER / name).read_bytes()) == locked.sha256, name


def test_nothing_else_lies_there() -> None:
    locked = {name for package in read_lock().packages for name in package.files}
    assert {path.name for path in FOLDER.iterdir()} == locked | {LOCK.name}


def test_each_package_brings_its_licence() -> None:
    for package in read_lock().packages:
        assert package.licence
        assert any(name.endswith(".LICENSE") for name in package.files)
