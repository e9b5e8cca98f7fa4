"""Traces are off unless a collector is named, and whoever names one is told what is missing."""

import subprocess
import sys

import pytest

from laneway import tracing
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({tracing.ENDPOINT: ""}, False),
        ({tracing.ENDPOINT: "http://collector:4318"}, True),
        ({tracing.TRACES_ENDPOINT: "http://collector:4318/v1/traces"}, True),
        ({tracing.ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({tracing.ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_collector_is_named_by_the_standard_variables(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environment) is wanted


def test_without_one_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys, streams.worker, ingest.server, streams.processes; from laneway import tracing; tracing.start('x');"
        "assert tracing.tracer is None;"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_protocol_that_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.ENDPOINT, "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        tracing.start("x")
    assert tracing.tracer is None
