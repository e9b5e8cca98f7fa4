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


def test_monitoring_starts_only_when_it_is_asked_for(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if service.get("profiles")} == {"prometheus", "grafana"}


def test_prometheus_looks_where_containers_tell(services: dict[str, dict[str, Any]]) -> None:
    document = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    asked = {
        (name, source["port"])
        for job in document["scrape_configs"]
        for source in job["dns_sd_configs"]
        for name in source["names"]
    }
    api = int(services["api"]["ports"][0].rpartition(":")[2])
    assert asked == {("api", api), ("worker", int(services["worker"]["environment"]["LANEWAY_WORKER__METRICS_PORT"]))}
    for name in ("api", "worker"):
        assert "0.0.0.0" in services[name]["environment"].values()


def test_what_containers_mount_of_ours_is_there(services: dict[str, dict[str, Any]]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert mounted
    assert not [path for path in mounted if not (COMPOSE.parent / path).is_dir()]
    source = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert [each["url"] for each in source["datasources"]] == ["http://prometheus:9090"]
    boards = yaml.safe_load((ROOT / "docker/grafana/provisioning/dashboards/laneway.yml").read_text())
    (path,) = {each["options"]["path"] for each in boards["providers"]}
    assert path in {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
