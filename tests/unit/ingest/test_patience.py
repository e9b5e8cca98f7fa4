"""A scrape is answered before whoever asks gives it up."""

import pytest
from starlette.requests import Request

from ingest.routes.metrics import _patience_of


@pytest.mark.parametrize(
    ("said", "spent"), [(None, 8.0), ("10", 7.0), ("3.5", 2.45), ("60", 8.0), ("soon", 8.0), ("0", 8.0), ("nan", 8.0)]
)
def test_it_is_spent_in_part(said: str | None, spent: float) -> None:
    headers = [] if said is None else [(b"x-prometheus-scrape-timeout-seconds", said.encode())]
    assert _patience_of(Request({"type": "http", "headers": headers})) == pytest.approx(spent)
