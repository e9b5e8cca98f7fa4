"""Requests are counted by their routes, and nothing that a client writes makes a series of its own."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.requests_log import RequestCounts
from ingest.routes.metrics import _Collected, _of_requests


def test_what_is_no_route_is_one_series() -> None:
    counts = RequestCounts()
    counts.routes = frozenset({"/api/tasks/{id}"})
    for path in ("/api/tasks/{id}", "/wp-login.php", "/etc/passwd"):
        counts.count("GET", path, 200, 0.002)
    counts.count("BREW", "/api/tasks/{id}", 405, 9.0)
    registry = CollectorRegistry()
    registry.register(_Collected(_of_requests(counts)))
    families = {each.name: each for each in text_string_to_metric_families(generate_latest(registry).decode())}
    answered = {
        (each.labels["method"], each.labels["route"], each.labels["status"]): each.value
        for each in families["laneway_api_requests"].samples
    }
    assert answered == {
        ("GET", "/api/tasks/{id}", "200"): 1,
        ("GET", "other", "200"): 2,
        ("other", "/api/tasks/{id}", "405"): 1,
    }
    seconds = families["laneway_api_request_seconds"].samples
    other = {
        each.labels["le"]: each.value
        for each in seconds
        if each.labels.get("method") == "other" and "le" in each.labels
    }
    assert (other["5.0"], other["+Inf"]) == (0, 1)
    assert [each.value for each in seconds if each.name.endswith("_sum") and each.labels["method"] == "other"] == [9.0]
