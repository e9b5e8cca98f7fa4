from typing import Any

import pytest
import yaml

from tests.support.source_tree import ROOT, source_files

COMPOSE = ROOT / "docker" / "compose.yaml"


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(COMPOSE.read_text())
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def test_docker_holds_no_python() -> None:
    # A module in it would shadow the Docker SDK, which testcontainers imports.
    assert not [str(path) for path in source_files() if path.parts[0] == "docker" and path.suffix == ".py"]


def test_every_image_that_is_pulled_is_pinned(services: dict[str, dict[str, Any]]) -> None:
    pulled = [service["image"] for service in services.values() if "build" not in service]
    pulled += [
        line.split()[1]
        for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines()
        if line.startswith("FROM ") and line.split()[1] != "build"
    ]
    assert pulled
    assert not [image for image in pulled if ":" not in image or image.endswith(":latest")]


@pytest.mark.parametrize("name", ["topics", "api", "worker"])
def test_our_containers_can_write_only_their_data(services: dict[str, dict[str, Any]], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_nothing_starts_before_the_topics_are_applied(services: dict[str, dict[str, Any]]) -> None:
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_the_image_does_not_run_as_root() -> None:
    users = [
        line.split()[1]
        for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines()
        if line.startswith("USER ")
    ]
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
